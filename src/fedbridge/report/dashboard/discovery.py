"""Where runs lie: folders with a run's settings, searched again at every request."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedbridge.runs.run import ACCURACY, CONFIG, ENVIRONMENT, EVENTS, SUMMARY

DEPTH = 4  # of the folders below a root in which runs are looked for
FILES = (CONFIG, ENVIRONMENT, EVENTS, ACCURACY, SUMMARY)


def find_runs(roots: Sequence[Path]) -> dict[str, Path]:
    """Return the folders of all runs in and below some folders, by a short name of their path.

    Links to folders are not followed. What cannot be read is passed over.
    """
    found: dict[str, Path] = {}
    for root in roots:
        for folder in _below(root.resolve(), DEPTH):
            found[name_of(folder)] = folder
    return found


def name_of(folder: Path) -> str:
    """Return the name by which a page asks for a run; no part of it is ever taken for a path."""
    return hashlib.blake2b(os.fsencode(folder), digest_size=6).hexdigest()


def is_run(names: set[str]) -> bool:
    """Return whether a folder with files of these names is a run's, perhaps a damaged one."""
    return CONFIG in names and len(names & set(FILES)) > 1


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:  # it vanished, or is not ours to read
        return
    if is_run({entry.name for entry in inside}):
        yield folder
        return
    for entry in inside:
        hidden = entry.name.startswith(".")
        if depth and not hidden and entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name, depth - 1)
