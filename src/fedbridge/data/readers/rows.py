"""What every reader gives: tasks in order, and in each of them items with their labels."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fedbridge.core.errors import UserError
from fedbridge.data.readers.cells import Cells
from fedbridge.data.readers.faults import Fault
from fedbridge.data.readers.pixels import Encoded

UNLABELLED = "unlabelled"
"""The class of items that need none."""
LITTER = ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin")
"""What systems leave in folders beside hidden files, in small letters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One item: where it stands, its class, what it is, and what it belongs to."""

    place: str
    label: str | None
    content: str | Encoded | Cells
    group: str | None = None


@dataclass(frozen=True)
class Partition:
    """The items of one task, read only when they are asked for."""

    name: str
    complete: bool
    rows: Callable[[], Iterable[Row | Fault]]


def in_order(partitions: Iterable[Partition], complete: str) -> list[Partition]:
    """Return tasks by name, and which are complete by this rule (``next`` or ``always``).

    Numbers in a name count as numbers: ``task-10`` comes after ``task-9``.
    """
    ordered = sorted(partitions, key=lambda partition: natural(partition.name))
    return [
        replace(partition, complete=complete == "always" or number < len(ordered))
        for number, partition in enumerate(ordered, start=1)
    ]


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which names are sorted, their numbers as numbers."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def inside(folder: Path, kind: str) -> Iterator[Path]:
    """Yield what lies in a folder, by name, without what is litter; UserError if it is none."""
    try:
        found = sorted(folder.iterdir(), key=lambda path: natural(path.name))
    except OSError as error:
        raise UserError(f"{folder}: must be a folder of {kind}: {error.strerror}") from error
    return (path for path in found if not is_litter(path.name))


def is_litter(name: str) -> bool:
    """Return whether a file or folder is hidden, or was left by a system and never by a person."""
    return name.startswith(".") or name.casefold() in LITTER


def link_fault(path: Path) -> str:
    """Return what is wrong with a link: that it leads nowhere, or out of the folder it lies in."""
    if not path.is_symlink():
        return ""
    home = path.parent.resolve()
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # of links that lead to one another
        return "is a link that leads nowhere"
    if target == home or not target.is_relative_to(home):
        return f"must lie in {path.parent}, but leads to {target}"
    return ""
