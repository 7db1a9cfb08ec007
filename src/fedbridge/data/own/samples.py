"""What lies in one's own files: every item with its domain and its task, and what is no item."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fedbridge.config import Own
from fedbridge.core.errors import UserError
from fedbridge.core.words import word_of
from fedbridge.data.readers.csv_files import csv_records, csv_tables
from fedbridge.data.readers.faults import Fault, attempted
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.pictures import (
    encoded_picture,
    ending_fault,
    pictures_below,
    require_classes,
)
from fedbridge.data.readers.pixels import Encoded, Levels, levels_of
from fedbridge.data.readers.rows import UNLABELLED, Row, inside, link_fault
from fedbridge.data.readers.sheet import Record, Sheet
from fedbridge.data.readers.tables import (
    CSV_ENDINGS,
    PARQUET_ENDINGS,
    RAGGED,
    parquet_records,
    table_files,
)

ALL = "all"  # the domain of items where nothing tells domains apart
TRAIN, TEST = "train", "test"


@dataclass(frozen=True, slots=True)
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
            Fault(place, fault)
            if fault
            else Sample(Row(place, UNLABELLED, encoded_picture(path, levels)))
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
            yield from _below(root, path, deeper, {**names, level: word_of(path.name)}, levels)
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
            row = Row(place, word_of(folder.name), encoded_picture(path, levels))
            where = names.get("domain", ALL), names.get("task", ""), names.get("split", "")
            yield Sample(row, *where)


def _plural(level: str) -> str:
    return "classes" if level == "class" else f"{level}s"


def in_csv(path: Path, own: Own, notice: Notice | None = None) -> Found:
    """Yield the rows of a CSV file, or of all in a folder; ``notice`` takes in what is noticed."""
    sheet, layouts = csv_tables(table_files(path, CSV_ENDINGS), own, notice or Notice())
    for layout in layouts:
        yield from _rows(layout.path, csv_records(layout), own, sheet)


def in_parquet(path: Path, own: Own, notice: Notice | None = None) -> Found:
    """Yield the rows of a Parquet file, or of all in a folder; as in_csv."""
    sheet = Sheet.typed(own, notice or Notice())
    for file in table_files(path, PARQUET_ENDINGS):
        yield from _rows(file, parquet_records(file, own), own, sheet)


def _rows(
    file: Path, records: Iterator[tuple[str, Record | None]], own: Own, sheet: Sheet
) -> Found:
    for place, values in records:
        short = place.replace(str(file), file.name, 1)
        yield attempted(short, partial(_sample, file.parent, short, values, own, sheet))


def _sample(folder: Path, place: str, values: Record | None, own: Own, sheet: Sheet) -> Sample:
    if values is None:
        raise UserError(RAGGED)
    if own.image is None:
        row = sheet.row(place, values)
    else:
        row = sheet.labelled(place, values, _picture(folder, values[own.image], own.image, sheet))
    domain = ALL if own.domain is None else sheet.needed(values, own.domain)
    return Sample(row, domain, _task(values, own, sheet), _split(values, own, sheet))


def _task(values: Record, own: Own, sheet: Sheet) -> str:
    if own.date is not None:
        return str(sheet.date(values, own.date).isoformat())
    return "" if own.task is None else sheet.needed(values, own.task)


def _split(values: Record, own: Own, sheet: Sheet) -> str:
    if own.split is None:
        return ""
    return split_side(f"column {own.split!r}", sheet.needed(values, own.split))


def split_side(what: str, value: str) -> str:
    """Return ``train`` or ``test``; raise UserError, naming what says so, if it is neither."""
    word = value.lower()
    if word not in (TRAIN, TEST):
        raise UserError(f"{what} must say 'train' or 'test', found {value!r}")
    return word


def _picture(folder: Path, value: Any, column: str, sheet: Sheet) -> Encoded:
    """Return a picture that lies in a file of a table's folder, or in the table itself."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes):
        return Encoded(lambda: data, levels_of(sheet.settings))
    name = sheet.known({column: data}, column)
    if name is None:
        raise UserError(f"must have a value in column {column!r}, found none")
    path = lying(folder, str(name))
    if "\\" in str(name) and not path.exists():  # a table that was written on Windows
        path = lying(folder, str(name).replace("\\", "/"))
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"picture must lie in the table's folder, found {name!r}")
    if not path.exists():
        raise UserError(f"picture must be a file, found nothing at {name!r}")
    if fault := ending_fault(path):
        raise UserError(fault)
    return encoded_picture(path, levels_of(sheet.settings))


def lying(folder: Path, name: str) -> Path:
    """Return the path of a file by its name, whose letters a disk may have composed or not."""
    here = folder
    for part in Path(name).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        here = next((path for form in forms if (path := here / form).exists()), here / part)
    return here
