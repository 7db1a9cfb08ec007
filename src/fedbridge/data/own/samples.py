"""What lies in one's own files: every item with its domain and its task, and what is no item."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fedbridge.config import Own
from fedbridge.data.faults import Fault, attempted
from fedbridge.data.pixels import Encoded, Levels, levels_of
from fedbridge.data.site.cells import as_word, is_missing
from fedbridge.data.site.pictures import encoded, ending_fault, pictures_below, require_classes
from fedbridge.data.site.rows import UNLABELLED, Row, inside, link_fault
from fedbridge.data.site.tables import (
    CSV_ENDINGS,
    PARQUET_ENDINGS,
    RAGGED,
    Record,
    as_date,
    csv_records,
    labelled,
    parquet_records,
    row_of,
    table_files,
)
from fedbridge.errors import UserError

ALL = "all"  # the domain of items where nothing tells domains apart
TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Sample:
    """An item, where it is from, its task or date, and its side, as the data say it."""

    row: Row
    domain: str = ALL
    task: str = ""
    split: str = ""
    """``train``, ``test``, or empty where the data leave it open."""


Found = Iterator[Sample | Fault]


def in_folder(root: Path, own: Own) -> Found:
    """Yield the pictures of a folder; raise UserError if it has another layout."""
    levels = levels_of(own)
    if own.labelled:
        *above, _, _ = own.layout.split("/")
        yield from _below(root, root, above, {}, levels)
        return
    for path, fault in pictures_below(root):
        place = str(path.relative_to(root))
        yield (
            Fault(place, fault) if fault else Sample(Row(place, UNLABELLED, encoded(path, levels)))
        )


def _below(
    root: Path, folder: Path, above: list[str], names: dict[str, str], levels: Levels
) -> Found:
    """Yield what lies in a folder of classes, or in the folders of a level above them."""
    level, *deeper = above or ["class"]
    folders = []
    for path in inside(folder, _plural(level)):
        fault = link_fault(path)
        if path.is_dir() and not fault:
            folders.append(path)
        else:
            none = f"lies among the folders of {_plural(level)}, but is none"
            yield Fault(str(path.relative_to(root)), fault or none)
    if not folders:
        raise UserError(f"{folder}: must have a folder for each {level}, found none")
    if level == "split" and {path.name for path in folders} != {TRAIN, TEST}:
        found = ", ".join(repr(path.name) for path in folders)
        raise UserError(f"{folder}: must have the folders 'train' and 'test', found {found}")
    if not above:
        require_classes(folder, folders, "layout = 'split/class/file' reads 'train' and 'test' so")
    for path in folders:
        if above:
            yield from _below(root, path, deeper, {**names, level: path.name}, levels)
        else:
            yield from _of_class(root, path, names, levels)


def _of_class(root: Path, folder: Path, names: dict[str, str], levels: Levels) -> Found:
    files = list(pictures_below(folder))
    if not files:
        raise UserError(
            f"{folder}: must hold pictures of class {folder.name!r}, found none; a class without "
            f"pictures should have no folder"
        )
    for path, fault in files:
        place = str(path.relative_to(root))
        if fault:
            yield Fault(place, fault)
        else:
            row = Row(place, folder.name, encoded(path, levels))
            where = names.get("domain", ALL), names.get("task", ""), names.get("split", "")
            yield Sample(row, *where)


def _plural(level: str) -> str:
    return "classes" if level == "class" else f"{level}s"


def in_csv(path: Path, own: Own) -> Found:
    """Yield the rows of a CSV file, or of all in a folder."""
    for file in table_files(path, CSV_ENDINGS):
        yield from _rows(file, csv_records(file, own, own.separator), own)


def in_parquet(path: Path, own: Own) -> Found:
    """Yield the rows of a Parquet file, or of all in a folder."""
    for file in table_files(path, PARQUET_ENDINGS):
        yield from _rows(file, parquet_records(file, own), own)


def _rows(file: Path, records: Iterator[tuple[str, Record | None]], own: Own) -> Found:
    for place, values in records:
        short = place.replace(str(file), file.name, 1)
        yield attempted(short, partial(_sample, file.parent, short, values, own))


def _sample(folder: Path, place: str, values: Record | None, own: Own) -> Sample:
    if values is None:
        raise UserError(RAGGED)
    if own.image is None:
        row = row_of(own, place, values)
    else:
        picture = _picture(folder, _value(values, own.image), levels_of(own))
        row = labelled(own, place, values, picture)
    domain = ALL if own.domain is None else as_word(_value(values, own.domain))
    return Sample(row, domain, _task(values, own), _split(values, own))


def _task(values: Record, own: Own) -> str:
    if own.date is not None:
        return as_date(own.date, _value(values, own.date)).isoformat()
    return "" if own.task is None else as_word(_value(values, own.task))


def _split(values: Record, own: Own) -> str:
    return "" if own.split is None else side_of(f"column {own.split!r}", _value(values, own.split))


def side_of(what: str, value: Any) -> str:
    """Return ``train`` or ``test``; raise UserError, naming what says so, if it is neither."""
    word = as_word(value).strip().lower()
    if word not in (TRAIN, TEST):
        raise UserError(f"{what} must say 'train' or 'test', found {value!r}")
    return word


def _value(values: Record, column: str) -> Any:
    if is_missing(values[column]):
        raise UserError(f"must have a value in column {column!r}, found none")
    return values[column]


def _picture(folder: Path, value: Any, levels: Levels) -> Encoded:
    """Return a picture that lies in a file of a table's folder, or in the table itself."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        return Encoded(lambda: data, levels)
    path = folder / str(data)
    if "\\" in str(data) and not path.exists():  # as Windows writes paths
        path = folder / str(data).replace("\\", "/")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"picture must lie in the table's folder, found {str(data)!r}")
    if not path.exists():
        raise UserError(f"picture must be a file, found nothing at {str(data)!r}")
    if fault := ending_fault(path):
        raise UserError(fault)
    return encoded(path, levels)
