"""One's own data in a local experiment: files or arrays, prepared once and kept in the cache."""

import logging
import os
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from fedbridge.config import ARRAYS, Own, kind_of, path_of, similar, title_of
from fedbridge.core.errors import UserError
from fedbridge.core.store import Part, content_fingerprint, read_part, write_parts
from fedbridge.core.words import RULES
from fedbridge.data.own.parts import parts_of
from fedbridge.data.own.samples import Found, in_csv, in_folder, in_parquet
from fedbridge.data.readers.faults import listed
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.pixels import PIXELS
from fedbridge.data.readers.preparing import InputSpec
from fedbridge.data.readers.rows import is_litter

SMALL_SIDE = 32  # of the pictures that small models read
READERS: dict[str, Callable[[Path, Own, Notice], Found]] = {
    "folder": lambda path, own, _: in_folder(path, own),
    "csv": in_csv,
    "parquet": in_parquet,
}
"""What yields the items of each kind of files; the contents of pictures are read later."""
log = logging.getLogger(__name__)


def own_parts(name: str, own: Own, root: Path) -> list[tuple[Part, str]]:
    """Return own data domain by domain, preparing what is not in the cache ``root`` yet.

    Files that change in name, size or time are prepared again. Raises UserError if nothing is
    there, it has another form, or something in it cannot be used and must not be left out.
    """
    path = path_of(name)
    if path is None:
        folder = root / ARRAYS / name.partition(":")[2]
        if not folder.is_dir():
            raise UserError(
                f"{own.named}: {name}: these arrays are not in the cache {root} any more; hand "
                f"them to fedbridge.data.from_arrays again"
            )
    else:
        folder = root / kind_of(name) / _key(path, own)
        if not folder.is_dir():
            _prepare(name, path, own, folder)
    parts = [read_part(part) for part in sorted(folder.iterdir())]
    _require_whole(name, own, parts)
    return parts


def _prepare(name: str, path: Path, own: Own, folder: Path) -> None:
    log.info("%s: reading", title_of(name))
    pictures = kind_of(name) == "folder" or own.image is not None
    frame = InputSpec((), "image" if pictures else "text", SMALL_SIDE, own.side)
    notice = Notice()
    found = _some(path, READERS[kind_of(name)](path, own, notice))
    least = own.min_class_items if own.labelled else 0
    write_parts(folder, lambda workspace: parts_of(found, frame, least, workspace, notice.notes))
    for line in notice.notes().spoken if not own.labelled else ():  # a run says the others
        log.info("%s: %s", title_of(name), line)


def _some(path: Path, found: Found) -> Found:
    """Yield what was found; raise UserError if it is nothing."""
    first = next(found, None)
    if first is None:
        raise UserError(f"{path}: must have rows, found none")
    return chain([first], found)


def _require_whole(name: str, own: Own, parts: list[tuple[Part, str]]) -> None:
    origins = [part.origin for part, _ in parts if part.origin is not None]
    broken = tuple(line for origin in origins for line in origin.broken)
    if broken and own.broken == "refuse":
        count = len(broken) + sum(len(origin.places) for origin in origins)
        raise UserError(
            f"{path_of(name)}: of {count} items {listed(broken)}. {own.where}.broken = 'skip' "
            f"leaves them out"
        )


def _key(path: Path, own: Own) -> str:
    """Return a name for files as they are now and all that decides how they are read."""
    settings = own.model_dump(mode="json", exclude={"broken", "period"})
    # pictures that a table names lie beside it
    whole = path.parent if own.image is not None and path.is_file() else path
    try:
        state = _state(path, whole, named=own.image is not None)
    except UserError as error:
        raise UserError(f"{own.named}: {error}") from error
    told = [RULES, PIXELS, str(path), state, settings, own.labelled]
    return content_fingerprint(told)[:32]


def _state(path: Path, whole: Path, named: bool) -> list[list[Any]]:
    """Return what identifies the files; where a table has ``named`` them, even hidden ones."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder{similar(path)}")
    try:
        if whole.is_file():
            return [_stamp(whole, whole)]
        return sorted(_stamp(whole, file) for file in _files(whole, named) if file.exists())
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _files(whole: Path, named: bool) -> Iterator[Path]:
    for folder, inner, names in os.walk(whole, onerror=_raise):
        inner[:] = [name for name in inner if named or not is_litter(name)]
        yield from (Path(folder, name) for name in names if named or not is_litter(name))


def _stamp(whole: Path, file: Path) -> list[Any]:
    about = file.stat()
    return [os.path.relpath(file, whole), about.st_size, about.st_mtime_ns]


def _raise(error: OSError) -> None:
    raise error
