"""Rows of a Hugging Face data set: which column is what, and what a scenario needs of it."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Hub
from fedbridge.data.hub_columns import column_values, detect, read_labels
from fedbridge.data.store import Images, Part, Texts
from fedbridge.data.tokens import tokenize
from fedbridge.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

SMALL_SIDE = 32  # of the pictures that small models read
TOLD = 10  # rows that an error names at most

Named = tuple[NDArray[np.int64], tuple[str, ...]]
Fault = tuple[int, str]  # a row, and what is wrong with it


@dataclass(frozen=True)
class Rows:
    """All rows of the splits that are used, sorted by domain, N of them."""

    name: str
    table: Any  # the content alone
    pictures: bool
    side: int
    places: tuple[str, ...]  # of each row, for errors
    labels: NDArray[np.int64]  # (N,)
    classes: tuple[str, ...]
    domains: NDArray[np.int64]  # (N,), ascending
    domain_names: tuple[str, ...]
    groups: NDArray[np.int64]  # (N,)
    split: NDArray[np.int8] | None  # (N,)

    def parts(
        self, workspace: Path, licences: tuple[str, ...], sources: tuple[str, ...]
    ) -> Iterator[Part]:
        """Yield each domain: pictures ``(N, 3, side, side)`` and ``(N, 3, 32, 32)``, or texts.

        Raises UserError with their number and the first places if rows cannot be read.
        """
        items: Any
        inputs: Any
        items, inputs = self._drawn(workspace) if self.pictures else self._tokenized()
        for number, domain in enumerate(self.domain_names):
            start, end = np.searchsorted(self.domains, (number, number + 1)).tolist()
            chosen = slice(start, end)
            small = inputs[chosen]
            yield Part(
                domain=domain,
                items=small if items is inputs else items[chosen],
                inputs=small,
                labels=self.labels[chosen],
                groups=self.groups[chosen],
                classes=self.classes,
                licences=licences,
                sources=sources,
                split=None if self.split is None else self.split[chosen],
            )

    def _tokenized(self) -> tuple[Texts, NDArray[np.uint16]]:
        texts: list[str | None] = column_values(self.table)
        faults = [(row, "no text") for row, text in enumerate(texts) if not (text or "").strip()]
        self._require_none(faults, "texts")
        whole = tuple(text for text in texts if text is not None)
        return whole, np.stack([tokenize(text) for text in whole])

    def _drawn(self, workspace: Path) -> tuple[Images, Images]:
        """Decode every picture once, into files: a large data set would not fit in memory."""
        sides = dict.fromkeys((self.side, SMALL_SIDE))
        faults: list[Fault] = []
        drawings = (self._draw(row, tuple(sides), faults) for row in range(len(self.places)))
        paths = [workspace / f"{side}.npy" for side in sides]
        write_columns(paths, [(len(self.places), 3, side, side) for side in sides], drawings)
        self._require_none(faults, "pictures")
        arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        return arrays[0], arrays[-1]

    def _draw(self, row: int, sides: tuple[int, ...], faults: list[Fault]) -> list[Images]:
        try:
            picture = self.table[row][self.table.column_names[0]]
            if picture is not None:
                return [draw(picture, side) for side in sides]
            faults.append((row, "no picture"))
        except Exception as error:  # decoders raise whatever they like
            faults.append((row, f"{type(error).__name__}: {error}"))
        return [np.zeros((3, side, side), np.uint8) for side in sides]

    def _require_none(self, faults: list[Fault], what: str) -> None:
        if faults:
            named = ", ".join(self.places[row] for row, _ in faults[:TOLD])
            more = ", ..." if len(faults) > TOLD else ""
            raise UserError(
                f"data.name: {self.name}: {len(faults)} of {len(self.places)} {what} cannot be "
                f"read: {named}{more} (the first: {faults[0][1]})"
            )


def read_rows(name: str, splits: dict[str, Any], hub: Hub) -> Rows:
    """Choose splits and columns and read all but the content; raise UserError if they do not fit.

    ``split`` is the official division: ``train`` against the other splits that are used.
    """
    import datasets

    chosen = _chosen(name, splits, hub.splits)
    used = [splits[split].with_format(None) for split in chosen]
    lengths = [len(part) for part in used]
    places = [f"{s} {row}" for s, n in zip(chosen, lengths, strict=True) for row in range(n)]
    if not places:
        raise UserError(f"data.name: {name}: must have rows, found none in {', '.join(chosen)}")
    table = datasets.concatenate_datasets(used)
    columns = detect(name, table.features, hub)
    read = partial(read_labels, name, table, places=places, missing=frozenset(hub.missing))
    labels, classes = read(columns.label, role="label")
    domain_names, domains = _identified(columns.domain, "domain", len(places), read)
    _, groups = _identified(columns.group, "group", len(places), read)
    split = None
    if "train" in chosen and len(chosen) > 1:
        split = np.repeat([np.int8(part != "train") for part in chosen], lengths)
        _check_groups(name, groups, split)
    order = np.argsort(domains, kind="stable")
    return Rows(
        name=name,
        table=table.select_columns([columns.content]).select(order),
        pictures=columns.pictures,
        side=hub.side,
        places=tuple(places[row] for row in order.tolist()),
        labels=labels[order],
        classes=classes,
        domains=domains[order],
        domain_names=domain_names,
        groups=groups[order],
        split=None if split is None else split[order],
    )


def _chosen(name: str, splits: dict[str, Any], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    chosen = tuple(splits) if wanted is None else wanted
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(splits):
        raise UserError(
            f"data.hub.splits: {name} has the splits {', '.join(splits)}, each to be named once; "
            f"found {list(chosen)}"
        )
    return chosen


def _identified(
    column: str | None, role: str, rows: int, read: Callable[..., Named]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the sorted names of a column's values and each row's number among them."""
    if column is None:
        numbers = np.zeros(rows) if role == "domain" else np.arange(rows)
        return ("all",), numbers.astype(np.int64)
    numbered, names = read(column, role=role)
    return names, numbered


def _check_groups(name: str, groups: NDArray[np.int64], split: NDArray[np.int8]) -> None:
    both = np.intersect1d(groups[split == 0], groups[split == 1])
    if len(both):
        raise UserError(
            f"data.hub.group: of {name} no group may be in train and in another split, found "
            f"{len(both)}; use one split, or leave the group out"
        )


def draw(picture: "Image", side: int, box: bool = False) -> Images:
    """Return a picture on white paper, its middle square scaled to ``(3, side, side)``.

    With ``box`` every pixel is the mean of those that it covers.
    """
    from PIL import Image, ImageOps

    if picture.mode.startswith("I;16"):  # 16 bits, which convert() would cut off at 255
        deep = np.asarray(picture).astype(np.uint16)
        picture = Image.fromarray((deep >> 8).astype(np.uint8))
    drawn = picture.convert("RGBA")
    paper = Image.new("RGBA", drawn.size, "white")
    paper.alpha_composite(drawn)
    how = Image.Resampling.BOX if box else Image.Resampling.LANCZOS
    square = ImageOps.fit(paper.convert("RGB"), (side, side), how)
    pixels: Images = np.asarray(square).transpose(2, 0, 1)
    return pixels


def write_columns(
    paths: list[Path], shapes: list[tuple[int, ...]], rows: Iterator[list[Images]]
) -> None:
    """Write uint8 arrays row by row; written, not mapped, so that a full disk is an error."""
    files: list[io.BufferedWriter] = []
    try:
        for path, shape in zip(paths, shapes, strict=True):
            files.append(path.open("wb"))
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[-1], header)
        for row in rows:
            for file, array in zip(files, row, strict=True):
                file.write(array.tobytes())
    finally:
        for file in files:
            file.close()
