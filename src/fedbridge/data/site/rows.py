"""What every reader gives: tasks in order, and in each of them items with their labels."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fedbridge.data.site.cells import Cells
from fedbridge.errors import UserError

UNLABELLED = "unlabelled"
"""The class of items that need none."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as it lies in a file; ``data`` is read when it is decoded."""

    data: Callable[[], bytes]


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
    rows: Callable[[], Iterable[Row]]


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
    """Yield what lies in a folder, by name, without hidden files.

    Raises UserError if it is no folder, or something in it is a link that leads out of it.
    """
    root = folder.resolve()
    try:
        found = sorted(folder.iterdir(), key=lambda path: natural(path.name))
    except OSError as error:
        raise UserError(f"{folder}: must be a folder of {kind}: {error.strerror}") from error
    for path in found:
        if path.name.startswith("."):
            continue
        if not path.resolve().is_relative_to(root):
            raise UserError(f"{path}: must lie in {folder}, but leads to {path.resolve()}")
        yield path
