"""Rows of a Hugging Face data set: which column is what, and what a scenario needs of it."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Hub
from fedbridge.core.errors import UserError
from fedbridge.core.store import Images, Origin, Part, Texts, at_rows
from fedbridge.core.tokens import tokenize
from fedbridge.data.hub.columns import column_values, detect, read_labels, unlabelled
from fedbridge.data.readers.faults import Fault, attempted, listed, on_both_sides
from fedbridge.data.readers.pixels import (
    Encoded,
    Levels,
    decode_picture,
    draw_picture,
    levels_of,
    pixels_digest,
)

SMALL_SIDE = 32  # of the pictures that small models read

Named = tuple[NDArray[np.int64], tuple[str, ...]]
Drawn = tuple[list[Images], str]  # a picture at all sides, and its digest


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
    grouped: bool  # by a column; else equal contents are a group as well
    split: NDArray[np.int8] | None  # (N,)
    levels: Levels
    faults: tuple[Fault, ...] = ()  # of rows that are left out already

    def parts(
        self, workspace: Path, licences: tuple[str, ...], sources: tuple[str, ...]
    ) -> Iterator[Part]:
        """Yield each domain: pictures ``(N, 3, side, side)`` and ``(N, 3, 32, 32)``, or texts.

        Rows that cannot be used are left out and told. Raises UserError if none is left.
        """
        items: Any
        inputs: Any
        faults: dict[int, Fault] = {}
        read = self._drawn(workspace, faults) if self.pictures else self._tokenized(faults)
        items, inputs, contents = read
        used = np.array([row not in faults for row in range(len(self.places))])
        if self.split is not None:
            twice = on_both_sides(contents, used & (self.split == 1), self.places)
            faults |= {row: fault for row, fault in twice.items() if used[row]}
            used[list(twice)] = False
        broken = (*self.faults, *(faults[row] for row in sorted(faults)))
        self._require_some(used, broken)
        groups = self.groups if self.grouped else self.groups[_alike(contents)]
        known, labels = np.unique(self.labels[used], return_inverse=True)
        numbers = np.zeros(len(used), np.int64)
        numbers[used] = labels
        told = tuple(map(str, broken))
        for number, domain in enumerate(self.domain_names):
            rows = np.flatnonzero((self.domains == number) & used)
            if not len(rows):
                continue
            small = at_rows(inputs, rows)
            yield Part(
                domain=domain,
                items=small if items is inputs else at_rows(items, rows),
                inputs=small,
                labels=numbers[rows],
                groups=groups[rows],
                classes=tuple(self.classes[label] for label in known.tolist()),
                licences=licences,
                sources=sources,
                split=None if self.split is None else self.split[rows],
                origin=Origin(tuple(self.places[row] for row in rows.tolist()), broken=told),
            )
            told = ()  # once

    def _tokenized(self, faults: dict[int, Fault]) -> tuple[Texts, NDArray[np.uint16], list[str]]:
        texts = [(text or "").strip() for text in column_values(self.table)]
        for row, text in enumerate(texts):
            if not text:
                faults[row] = Fault(self.places[row], "must have a text, found none")
        whole: list[str | None] = column_values(self.table)
        items = tuple(text or "" for text in whole)
        return items, np.stack([tokenize(text) for text in items]), texts

    def _drawn(self, workspace: Path, faults: dict[int, Fault]) -> tuple[Images, Images, list[str]]:
        """Decode every picture once, into files: a large data set would not fit in memory."""
        sides = tuple(dict.fromkeys((self.side, SMALL_SIDE)))
        contents: list[str] = []
        paths = [workspace / f"{side}.npy" for side in sides]
        drawings = self._drawings(sides, faults, contents)
        write_columns(paths, [(len(self.places), 3, side, side) for side in sides], drawings)
        arrays = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        return arrays[0], arrays[-1], contents

    def _drawings(
        self, sides: tuple[int, ...], faults: dict[int, Fault], contents: list[str]
    ) -> Iterator[list[Images]]:
        nothing = [np.zeros((3, side, side), np.uint8) for side in sides], ""
        for row, place in enumerate(self.places):
            read = attempted(place, partial(self._draw, row, sides))
            if isinstance(read, Fault):
                faults[row] = read
            drawn, content = nothing if isinstance(read, Fault) else read
            contents.append(content)
            yield drawn

    def _draw(self, row: int, sides: tuple[int, ...]) -> Drawn:
        cell = self.table[row][self.table.column_names[0]]
        picture = decode_picture(Encoded(partial(_file, cell), self.levels))
        return [draw_picture(picture, side) for side in sides], pixels_digest(picture)

    def _require_some(self, used: NDArray[np.bool_], broken: Sequence[Fault]) -> None:
        """Raise UserError if no row, or none of the test or of what is learnt, can be used."""
        sides = [("its rows", np.ones(len(used), bool))]
        if self.split is not None:
            sides = [("train", self.split == 0), ("the other splits", self.split == 1)]
        for what, rows in sides:
            if not used[rows].any():
                raise UserError(
                    f"data.name: {self.name}: of {what} none can be used: {listed(broken)}"
                )


def _alike(contents: Sequence[str]) -> NDArray[np.int64]:
    """Return for each item the first row of the same content."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(one, row) for row, one in enumerate(contents)], np.int64)


def _file(cell: Any) -> bytes:
    """Return the bytes of a picture: of the data set, or of the file that it names."""
    if cell is None or (cell.get("bytes") is None and cell.get("path") is None):
        raise UserError("must have a picture, found none")
    found: bytes | None = cell.get("bytes")
    return Path(cell["path"]).read_bytes() if found is None else found


def read_rows(name: str, splits: dict[str, Any], hub: Hub) -> Rows:
    """Choose splits and columns and read all but the content; raise UserError if they do not fit.

    ``split`` is the official division: ``train`` against the other splits that are used.
    """
    import datasets

    chosen = _chosen(name, splits, hub.splits)
    used = [splits[split].with_format(None) for split in chosen]
    lengths = [len(part) for part in used]
    _require_rows(name, dict(zip(chosen, lengths, strict=True)))
    places = [f"{s} {row}" for s, n in zip(chosen, lengths, strict=True) for row in range(n)]
    table = datasets.concatenate_datasets(used)
    columns = detect(name, table.features, hub)
    tested = np.repeat([np.int8(part != "train") for part in chosen], lengths)
    missing = frozenset(hub.missing)
    faults: dict[int, str] = {}
    if hub.broken == "skip" and (faults := unlabelled(table, columns.label, missing)):
        kept = np.array([row for row in range(len(places)) if row not in faults], np.int64)
        table, tested = table.select(kept), tested[kept]
    skipped = tuple(Fault(places[row], rule) for row, rule in faults.items())
    places = [place for row, place in enumerate(places) if row not in faults]
    if not places:
        raise UserError(f"data.name: {name}: of its rows none can be used: {listed(skipped)}")
    read = partial(read_labels, name, table, places=places, missing=missing)
    labels, classes = read(columns.label, role="label")
    domain_names, domains = _identified(columns.domain, "domain", len(places), read)
    _, groups = _identified(columns.group, "group", len(places), read)
    split = tested if "train" in chosen and len(chosen) > 1 else None
    if split is not None:
        _check_groups(name, groups, split)
    order = np.argsort(domains, kind="stable")
    content = table.select_columns([columns.content]).select(order)
    if columns.pictures:  # as files, of which pixels are made in one way everywhere
        content = content.cast_column(columns.content, datasets.Image(decode=False))
    return Rows(
        name=name,
        table=content,
        pictures=columns.pictures,
        side=hub.side,
        places=tuple(places[row] for row in order.tolist()),
        labels=labels[order],
        classes=classes,
        domains=domains[order],
        domain_names=domain_names,
        groups=groups[order],
        grouped=columns.group is not None,
        split=None if split is None else split[order],
        levels=levels_of(hub),
        faults=skipped,
    )


def _require_rows(name: str, lengths: dict[str, int]) -> None:
    """Raise UserError naming the splits without any row."""
    empty = [split for split, length in lengths.items() if not length]
    if not empty:
        return
    others = [split for split in lengths if split not in empty]
    way = f"; data.hub.splits = {others} leaves it out" if others else ""
    raise UserError(
        f"data.hub.splits: {name}: every split must have rows, found none in "
        f"{', '.join(map(repr, empty))}{way}"
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
