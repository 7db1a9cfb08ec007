"""What a picture shows: pictures and arrays of any depth become pixels here and nowhere else."""

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.store import Images

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS = 2
"""Version of the rules below: data prepared by another version are prepared again."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MOST_PIXELS = 64 * 2**20  # a small file may unfold to any size
WHITE = {8: 0xFF, 16: 0xFFFF}
DIM = 4  # integers that never reach this part of their range are likely of fewer bits
BITS, PHOTOMETRIC, SAMPLES = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO, UNSIGNED = 0, (1,)


@dataclass(frozen=True)
class Levels:
    """Which values of pictures of more than 8 bits are black and white."""

    said: tuple[float, float] | None = None
    """Black and white, where they are stated."""
    setting: str = ""
    """What states them; empty where nothing does."""


OPEN = Levels()


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as it lies in a file; ``data`` is read when it is decoded."""

    data: Callable[[], bytes]
    levels: Levels = OPEN


def levels_of(settings: Any) -> Levels:
    """Return the levels that a section of settings says, if it has any."""
    where = getattr(settings, "where", "data")
    return Levels(getattr(settings, "levels", None), f"{where}.levels")


def decode_picture(encoded: Encoded, most: int = MOST_PIXELS) -> "Image":
    """Return what a file shows, upright; see ``shown``.

    Raises whatever decoders raise, and ValueError if it is too large or its depth is not known.
    """
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
    _require_one(picture)
    halved = not _is_deep(picture) and any(";16" in str(tile) for tile in picture.tile)
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)  # a copy would not know its format
    if halved:
        _check_colours(picture, encoded.levels)
    return shown(picture, encoded.levels)


def shown(picture: "Image", levels: Levels = OPEN) -> "Image":
    """Return a picture in red, green and blue on white paper.

    8 bits and the exact scale of a format stay what they are, so 65,535 of 16 bits is 255.
    Raises ValueError if the depth is not known and ``levels`` do not say it.
    """
    from PIL import Image

    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    drawn = (_shallow(picture, levels) if _is_deep(picture) else picture).convert("RGBA")
    paper = Image.new("RGBA", drawn.size, "white")
    paper.alpha_composite(drawn)
    return paper.convert("RGB")


def draw_picture(picture: "Image", side: int, box: bool = False) -> Images:
    """Return what a picture shows, its middle square scaled to ``(3, side, side)``.

    With ``box`` every pixel is the mean of those that it covers.
    """
    from PIL import Image, ImageOps

    how = Image.Resampling.BOX if box else Image.Resampling.LANCZOS
    square = ImageOps.fit(shown(picture), (side, side), how)
    pixels: Images = np.asarray(square).transpose(2, 0, 1)
    return pixels


def pixels_digest(picture: "Image") -> str:
    """Return the sha256 of what a picture shows, whatever file format it came in."""
    seen = shown(picture)
    opaque = seen.convert("RGBA")  # four bytes a pixel, as ever
    return hashlib.sha256(f"{seen.size}".encode() + opaque.tobytes()).hexdigest()


def as_bytes(
    values: NDArray[Any], levels: Levels, white: int | None, kind: str = ""
) -> NDArray[np.uint8]:
    """Return the values of pictures of any depth as 0 to 255, rounded.

    ``white`` is the integer that is white; floats are from 0 to 1. Raises ValueError naming
    ``kind``, the range found and what must say the levels if they are others, or all would be
    nearly black.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "biuf" or not values.size:
        raise ValueError(f"must be numbers, found {values.dtype} {values.shape}")
    if values.dtype.kind == "f" and (holes := int(np.isnan(values).sum())):
        raise ValueError(f"must have a number in every pixel, found {holes} without (NaN)")
    numbers = values if values.dtype.kind == "f" else values.astype(np.float64)
    black, top = levels.said or _known(values, white, levels.setting, kind or str(values.dtype))
    kept = np.clip(numbers, black, top) - black
    scaled: NDArray[np.uint8] = np.rint(kept * (255.0 / (top - black))).astype(np.uint8)
    return scaled


def white_of(values: NDArray[Any]) -> int | None:
    """Return the whole number that is white in an array that was never in a file, if any is."""
    if values.dtype.kind not in "iu" and not np.array_equal(values, np.rint(values)):
        return None
    return WHITE[16] if values.dtype == np.uint16 else WHITE[8]


def _known(values: NDArray[Any], white: int | None, setting: str, kind: str) -> tuple[float, float]:
    """Return black and white where they are not stated; raise ValueError if unknowable."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "bf" and 0.0 <= low <= high <= 1.0:
        return 0.0, 1.0
    if white and low >= 0 and (high == 0 or white / DIM <= high <= white):
        return 0.0, float(white)
    way = (
        f"{setting} = [{_example(low, high, values.dtype.kind)}], or what they are, says it"
        if setting
        else "bring it to 8 bits, 0 for black and 255 for white, first"
    )
    raise ValueError(
        f"{kind} from {low:g} to {high:g}: which values are black and white cannot be known; {way}"
    )


def _example(low: float, high: float, kind: str) -> str:
    """Return levels that would show all of a range: those of so many bits, if it is of integers."""
    if kind == "f" and 1 < high <= WHITE[8] and low >= 0:
        return f"0, {WHITE[8]}"
    if kind == "f" or low < 0:
        return f"{low:g}, {high:g}"
    return f"0, {(1 << int(high).bit_length()) - 1}"


def _is_deep(picture: "Image") -> bool:
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _shallow(picture: "Image", levels: Levels) -> "Image":
    """Return a grey picture of more than 8 bits with 8."""
    from PIL import Image

    tags = getattr(picture, "tag_v2", {})  # of TIFF alone
    values = np.asarray(picture)
    if picture.mode == "I" and tags.get(SAMPLES) == UNSIGNED and tags.get(BITS) == (32,):
        values = values.view(np.uint32)
    pixels = as_bytes(values, levels, _white(picture, tags), f"mode {picture.mode}, values")
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        pixels = 255 - pixels
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        pixels = np.where(values == clear, np.uint8(255), pixels)  # the paper's white
    return Image.fromarray(pixels)


def _white(picture: "Image", tags: Any) -> int | None:
    """Return the value that is white by a picture's format; None where that does not say it."""
    if picture.mode == "F" or (picture.mode == "I" and picture.format not in ("PPM", "PNG")):
        return None
    return (1 << 12) - 1 if tags.get(BITS) == (12,) else WHITE[16]


def _require_one(picture: "Image") -> None:
    """Raise ValueError if a TIFF has several pages of one size: a stack, no thumbnails."""
    pages = getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1
    if pages == 1:
        return
    first = picture.size
    picture.seek(1)
    second = picture.size
    picture.seek(0)
    if first == second:
        raise ValueError(f"must be one picture, found {pages} pages; save each as a file")


def _check_colours(picture: "Image", levels: Levels) -> None:
    """Raise ValueError if the upper 8 of 16 bits of each colour, all that is read, say too little.

    Decoders give no more of colours; levels cannot be inferred from half the bits.
    """
    colours = [band for band in picture.getbands() if band not in "AX"]
    high = max(int(np.asarray(picture.getchannel(band)).max()) for band in colours)
    if levels.said not in (None, (0, WHITE[16])) or 0 < high < (WHITE[8] + 1) / DIM:
        raise ValueError(
            f"16 bits of each colour, of which the upper 8 are read, which have at most {high}: "
            f"save it with 8 bits of each colour, scaled as it is meant"
        )
