"""Pictures of a site: folders of files, and which of them may be opened."""

import logging
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fedbridge.config.site import UNSAFE, Images
from fedbridge.core.errors import UserError
from fedbridge.core.words import word_of
from fedbridge.data.readers.faults import Fault
from fedbridge.data.readers.pixels import Encoded, Levels, levels_of
from fedbridge.data.readers.rows import Partition, Row, in_order, inside, is_litter, link_fault

MARKER = "_DONE"
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MOST_BYTES = 512 * 2**20
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
"""What folders of a division are called, and hardly ever classes."""
log = logging.getLogger(__name__)


def read_pictures(settings: Images) -> list[Partition]:
    """List the tasks of a folder ``CLASS/**/file`` or ``TASK/CLASS/**/file``; see partitions_of."""
    levels = levels_of(settings)
    if settings.layout == "class/file":
        rows = partial(_rows, settings.path, levels, [])
        return [Partition("all", _is_marked(settings.path), rows)]
    folders, strays = _folders(settings.path)
    if not folders:
        raise UserError(f"{settings.path}: must have a folder for each task, found none")
    found = [
        Partition(word_of(path.name), False, partial(_rows, path, levels, strays))
        for path in folders
    ]
    if settings.complete != "marker":
        return in_order(found, settings.complete)
    marked = {word_of(folder.name): _is_marked(folder) for folder in folders}
    return [Partition(one.name, marked[one.name], one.rows) for one in in_order(found, "next")]


def _is_marked(folder: Path) -> bool:
    return (folder / MARKER).is_file()


def _folders(folder: Path) -> tuple[list[Path], list[Fault]]:
    """Return the folders in a folder, and what else lies there but a marker."""
    folders, strays = [], []
    for path in inside(folder, "classes"):
        if fault := link_fault(path):
            strays.append(Fault(str(path), fault))
        elif path.is_dir():
            folders.append(path)
        elif path.name != MARKER:
            strays.append(Fault(str(path), f"must be a folder, or a file {MARKER}"))
    return folders, strays


def _rows(folder: Path, levels: Levels, strays: list[Fault]) -> Iterator[Row | Fault]:
    """Yield the pictures of ``CLASS/**/file``; raise UserError if a class is empty."""
    classes, others = _folders(folder)
    if not classes:
        told = f"; {others[0]}" if others else ""
        raise UserError(f"{folder}: must have a folder for each class, found none{told}")
    require_classes(folder, classes, "a site has one folder for both and divides it itself")
    yield from (*strays, *others)
    for label in classes:
        files = list(pictures_below(label))
        if not files:
            raise UserError(f"{label}: must hold pictures of class {label.name!r}, found none")
        for path, fault in files:
            if fault:
                yield Fault(str(path), fault)
            else:
                yield Row(str(path), word_of(label.name), encoded_picture(path, levels))


def pictures_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a folder and of those in it, each with what is wrong with it, if it is."""
    for path in inside(folder, "pictures"):
        if fault := link_fault(path):
            yield path, fault
        elif path.is_dir():
            yield from pictures_below(path)
        else:
            yield path, ending_fault(path)


def require_classes(folder: Path, classes: list[Path], way: str) -> None:
    """Raise UserError if folders of classes are rather those of a division; warn of other doubts.

    Since a class may have folders of its own, a level that the layout forgets would go unseen.
    """
    inner = [_folders_in(one) for one in classes]
    names = {path.name.casefold() for path in classes}
    if names <= SPLITS and any(inner):
        found = ", ".join(repr(path.name) for path in classes)
        raise UserError(
            f"{folder}: must have a folder for each class, found {found} with folders in them; "
            f"{way}"
        )
    if len(classes) > 1 and len(inner[0]) > 1 and all(one == inner[0] for one in inner):
        log.warning(
            "%s: its folders %s are read as classes, although each has the folders %s; another "
            "layout reads those as classes",
            folder,
            ", ".join(path.name for path in classes[:4]),
            ", ".join(sorted(inner[0])[:4]),
        )


def _folders_in(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as found:
            return {one.name for one in found if one.is_dir() and not is_litter(one.name)}
    except OSError:  # is reported where its pictures are read
        return set()


def ending_fault(path: Path) -> str:
    """Return what is wrong with a file's name or kind; nothing is if it may be opened."""
    ending = path.suffix.lower()
    if ending in ENDINGS and path.is_file():
        return ""
    unsafe = "; nothing is unpickled" if ending in UNSAFE else ""
    return (
        f"must be a picture ({', '.join(e[1:] for e in ENDINGS)}), found "
        f"{ending or 'a file without ending'}{unsafe}"
    )


def encoded_picture(path: Path, levels: Levels) -> Encoded:
    """Return a picture file, which is read when it is decoded."""
    return Encoded(partial(read_file, path), levels)


def read_file(path: Path) -> bytes:
    """Return the bytes of a file; raise ValueError if they are too many."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"must have at most {MOST_BYTES:,} bytes, found {size:,}")
    return path.read_bytes()
