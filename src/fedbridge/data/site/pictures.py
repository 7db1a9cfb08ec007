"""Pictures of a site: folders of files, and how a file becomes a picture, safely."""

import hashlib
import io
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedbridge.config.site import UNSAFE, Images
from fedbridge.data.site.rows import Encoded, Partition, Row, in_order, inside
from fedbridge.errors import UserError
from fedbridge.words import word_of

if TYPE_CHECKING:
    from PIL.Image import Image

MARKER = "_DONE"
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MOST_PIXELS = 64 * 2**20  # a small file may unfold to any size
MOST_BYTES = 512 * 2**20


def read_pictures(settings: Images) -> list[Partition]:
    """List the tasks of a folder ``CLASS/file`` or ``TASK/CLASS/file``; see partitions_of."""
    if settings.layout == "class/file":
        return [Partition("all", _is_marked(settings.path), partial(_rows, settings.path))]
    folders = [path for path in inside(settings.path, "tasks") if _is_folder(path)]
    if not folders:
        raise UserError(f"{settings.path}: must have a folder for each task, found none")
    found = [Partition(word_of(one.name), False, partial(_rows, one)) for one in folders]
    if settings.complete != "marker":
        return in_order(found, settings.complete)
    marked = {word_of(folder.name): _is_marked(folder) for folder in folders}
    return [Partition(one.name, marked[one.name], one.rows) for one in in_order(found, "next")]


def _is_marked(folder: Path) -> bool:
    return (folder / MARKER).is_file()


def _is_folder(path: Path) -> bool:
    """Say whether a path is a folder; raise UserError if it is a file but no marker."""
    if path.is_dir():
        return True
    if path.name != MARKER:
        raise UserError(f"{path}: must be a folder, or a file {MARKER}")
    return False


def _rows(folder: Path) -> Iterator[Row]:
    """Yield the pictures of ``CLASS/file``; raise UserError if a class is empty."""
    classes = [path for path in inside(folder, "classes") if _is_folder(path)]
    if not classes:
        raise UserError(f"{folder}: must have a folder for each class, found none")
    for label in classes:
        files = list(inside(label, "pictures"))
        if not files:
            raise UserError(f"{label}: must hold pictures of class {label.name!r}, found none")
        for path in files:
            if fault := ending_fault(path):
                raise UserError(f"{path}: {fault}")
            yield Row(str(path), word_of(label.name), encoded(path))


def ending_fault(path: Path) -> str:
    """Say what is wrong with a file's name or kind; nothing is if it may be opened."""
    ending = path.suffix.lower()
    if ending in ENDINGS and path.is_file():
        return ""
    unsafe = "; nothing is unpickled" if ending in UNSAFE else ""
    return (
        f"must be a picture ({', '.join(e[1:] for e in ENDINGS)}), found "
        f"{ending or 'a folder or a file without ending'}{unsafe}"
    )


def encoded(path: Path) -> Encoded:
    """Return a picture file, which is read when it is decoded."""
    return Encoded(partial(read_file, path))


def read_file(path: Path) -> bytes:
    """Return the bytes of a file; raise ValueError if they are too many."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"must have at most {MOST_BYTES:,} bytes, found {size:,}")
    return path.read_bytes()


def decode_picture(encoded: Encoded, most: int = MOST_PIXELS) -> "Image":
    """Return an upright picture; raises whatever decoders raise, ValueError if it is too large."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            picture = Image.open(io.BytesIO(encoded.data()), formats=FORMATS)
    except UnidentifiedImageError as error:  # which names an address in memory
        raise ValueError(f"must be a picture of {', '.join(FORMATS)}") from error
    width, height = picture.size
    if width * height > most:
        raise ValueError(f"must have at most {most:,} pixels, found {width} x {height}")
    picture.load()
    upright: Image.Image = ImageOps.exif_transpose(picture)
    return upright


def pixels_digest(picture: "Image") -> str:
    """Return the sha256 of what a picture shows, whatever file format it came in."""
    shown = picture.convert("RGBA")
    return hashlib.sha256(f"{shown.size}".encode() + shown.tobytes()).hexdigest()
