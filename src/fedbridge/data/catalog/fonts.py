"""``fonts``: letters and digits drawn with some 640 fonts from Debian; the group is the font."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.packages import Package, fetch
from fedbridge.core.store import Part
from fedbridge.data.spec import DataSource

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

log = logging.getLogger(__name__)

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SIDE = 32
MARGIN = 3  # white pixels between the longer side of a glyph and the edge
POINTS = 48  # size at which glyphs are drawn before they are fitted
LARGEST = 1024  # pixels; a larger glyph is a fault of its font
INK = 64  # a pixel darker than this, of 255, belongs to the glyph
LEAST_INK = 12  # pixels; a glyph with fewer is blank
NONCHARACTER = "\uffff"  # never in a font, so that it is drawn as the .notdef box
LEAST_GLYPHS = 60  # characters that a font must draw
LEAST_SHAPES = 30  # of them, how many must differ: pictures of boxes alone are no font
TELLING = "ABDEGHNQR"  # capitals that look nothing like their lower case
LEAST_DISTANCE = 3.0  # of 255 per pixel, between a telling capital and its lower case

DOMAINS = ("decorative", "sans", "serif", "mono")
NO_LETTERS = re.compile("symbol|dingbat|d050|keyboard|initials|math", re.IGNORECASE)
# families by name, the first that matches counts; everything else is a serif
FAMILIES = (
    ("decorative", re.compile("chorus|z003", re.IGNORECASE)),
    ("mono", re.compile("mono|typewriter|cursor|hack|fira ?code|cousine", re.IGNORECASE)),
    (
        "sans",
        re.compile(
            "sans|adventor|heros|gothic|lato|roboto|arimo|karmilla|biolinum|bright", re.IGNORECASE
        ),
    ),
)
PACKAGES = tuple(
    Package("apt", f"fonts-{name}", megabytes)
    for name, megabytes in (
        ("aenigma", 7.4), ("cmu", 4.9), ("croscore", 1.6), ("dejavu-core", 1.1),
        ("dejavu-extra", 2.0), ("firacode", 1.5), ("freefont-ttf", 2.6), ("hack", 1.6),
        ("karmilla", 2.3), ("lato", 2.7), ("linuxlibertine", 1.7), ("paratype", 1.4),
        ("roboto-unhinted", 2.4), ("texgyre", 8.2), ("urw-base35", 10.8), ("vollkorn", 1.3),
    )
)  # fmt: skip
LICENCES = (
    "fonts-aenigma: (c) Brian Kent, free to redistribute and change with attribution",
    "fonts-cmu, -croscore, -firacode, -karmilla, -lato, -linuxlibertine, -vollkorn: OFL-1.1",
    "fonts-dejavu, -hack: Bitstream Vera licence (Hack also MIT)",
    "fonts-freefont-ttf: GPL-3+ with font exception",
    "fonts-paratype: ParaType Free Font Licence",
    "fonts-roboto-unhinted: Apache-2.0",
    "fonts-texgyre: GUST Font Licence",
    "fonts-urw-base35: AGPL-3 with font exception",
)


@dataclass(frozen=True)
class Glyphs:
    """What one font gives: its domain, the places of its characters and their pictures."""

    domain: str
    places: tuple[int, ...]  # in CHARACTERS
    pictures: NDArray[np.uint8]  # (n, 32, 32), ink = 255


def prepare(domains: tuple[str, ...], workspace: Path) -> Iterator[Part]:
    """Yield all domains: items ``(N, 1, 32, 32)`` black on white, inputs the same with ink 255.

    All are drawn at once, because a font's number, its group, counts through all domains.
    """
    fetched = [fetch(package, workspace, is_font) for package in PACKAGES]
    paths = sorted(path for one in fetched for path in one.folder.rglob("*") if path.is_file())
    fonts = [glyphs for path in paths if (glyphs := draw_font(path)) is not None]
    log.info("drew %d of %d fonts", len(fonts), len(paths))
    sources = tuple(one.source for one in fetched)
    for domain in DOMAINS:
        yield _part(domain, fonts, sources)


def is_font(name: str) -> bool:
    """Return whether a file's name is that of an outline font."""
    return name.lower().endswith((".ttf", ".otf"))


def draw_font(path: Path) -> Glyphs | None:
    """Return a font's glyphs; None if it has no letters or no lower case, or cannot be read.

    Left out are blank glyphs, the ``.notdef`` box of a missing character, and pictures that
    the font has already given for an earlier character.
    """
    from PIL import ImageFont

    try:
        font = ImageFont.truetype(path, POINTS, layout_engine=ImageFont.Layout.BASIC)
        family = font.getname()[0] or path.stem
        missing = draw_glyph(font, NONCHARACTER)
        drawn = [draw_glyph(font, character) for character in CHARACTERS]
    except (OSError, ValueError) as error:
        log.info("left out %s: %s", path.name, error)
        return None
    shapes: dict[bytes, int] = {}
    for place, glyph in enumerate(drawn):
        if glyph is not None:
            shapes.setdefault(glyph.tobytes(), place)
    few = len(shapes) < LEAST_SHAPES or sum(glyph is not None for glyph in drawn) < LEAST_GLYPHS
    if few or NO_LETTERS.search(f"{family} {path.stem}") or not has_lower_case(drawn):
        return None
    if missing is not None:
        shapes.pop(missing.tobytes(), None)
    pictures = [np.frombuffer(shape, np.uint8).reshape(SIDE, SIDE) for shape in shapes]
    return Glyphs(domain_of(path, family), tuple(shapes.values()), np.stack(pictures))


def has_lower_case(drawn: list[NDArray[np.uint8] | None]) -> bool:
    """Return whether a font's small letters are more than copies of its capitals.

    ``drawn`` has one picture per character of ``CHARACTERS``; the median distance of those
    letters decides whose two cases have different shapes in every font that has both.
    """
    distances = []
    for letter in TELLING:
        capital = drawn[CHARACTERS.index(letter)]
        small = drawn[CHARACTERS.index(letter.lower())]
        if capital is not None and small is not None:
            distances.append(np.abs(capital.astype(np.int16) - small).mean())
    return bool(distances) and float(np.median(distances)) >= LEAST_DISTANCE


def domain_of(path: Path, family: str) -> str:
    """Return the domain of a font by the folder it came in and the name of its family."""
    if "aenigma" in path.as_posix():
        return "decorative"
    return next((domain for domain, names in FAMILIES if names.search(family)), "serif")


def draw_glyph(font: "FreeTypeFont", character: str) -> NDArray[np.uint8] | None:
    """Return a character as ``(32, 32)`` with ink 255, fitted and centred, or None if blank."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = (round(edge) for edge in font.getbbox(character))
    width, height = right - left, bottom - top
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        return None
    canvas = Image.new("L", (width, height))
    ImageDraw.Draw(canvas).text((-left, -top), character, font=font, fill=255)
    return fit(np.asarray(canvas))


def fit(drawing: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Crop a drawing to its ink, centre it in a square and scale that to ``(32, 32)``."""
    from PIL import Image

    ink = drawing > INK
    if ink.sum() < LEAST_INK:
        return None
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    glyph = drawing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = glyph.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side), np.uint8)
    square[top : top + height, left : left + width] = glyph
    inner = SIDE - 2 * MARGIN
    scaled = Image.fromarray(square).resize((inner, inner), Image.Resampling.BILINEAR)
    return np.pad(np.asarray(scaled), MARGIN)


def _part(domain: str, fonts: list[Glyphs], sources: tuple[str, ...]) -> Part:
    chosen = [(number, font) for number, font in enumerate(fonts) if font.domain == domain]
    inputs = np.concatenate([font.pictures for _, font in chosen])[:, None]
    labels = [place for _, font in chosen for place in font.places]
    groups = [number for number, font in chosen for _ in font.places]
    return Part(
        domain=domain,
        items=255 - inputs,
        inputs=inputs,
        labels=np.array(labels, np.int64),
        groups=np.array(groups, np.int64),
        classes=tuple(CHARACTERS),
        licences=LICENCES,
        sources=sources,
    )


FONTS = DataSource(
    parts=prepare,
    summary="letters and digits in some 640 fonts, 62 classes",
    domains=DOMAINS,
    licences=LICENCES,
    packages=PACKAGES,
)
