"""Tables of a site: CSV, Parquet and Hugging Face sets, row by row, as texts, cells or pictures."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fedbridge.config.columns import TableColumns
from fedbridge.config.site import CSV, HuggingFace, Parquet, Table
from fedbridge.core.errors import UserError
from fedbridge.core.words import word_of
from fedbridge.data.hub.hub import folder_state, foreign_errors, saved_splits
from fedbridge.data.readers.csv_files import csv_records, csv_tables
from fedbridge.data.readers.dates import period_of
from fedbridge.data.readers.faults import Fault, listed
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.rows import Partition, Row, in_order, inside, link_fault
from fedbridge.data.readers.sheet import Record, Sheet, require_columns

Located = tuple[str, Record | None]  # where a row stands, and its values by column, if it has any
CSV_ENDINGS = (".csv", ".tsv", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")
RAGGED = "must have a value for each column of the header"
SHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
"""Endings of spreadsheets, whose tables may hold anything."""
Sources = Mapping[Path, Callable[[], Iterator[Located]]]
NARROW = {
    "float": np.float32,
    "float32": np.float32,
    "halffloat": np.float16,
    "float16": np.float16,
}
"""Kinds of numbers of few bits, as Arrow and ``datasets`` call them."""


def read_csv(settings: CSV, notice: Notice) -> list[Partition]:
    """List the tasks of a CSV file or of a folder of them; see partitions_of."""
    files = table_files(settings.path, CSV_ENDINGS)
    sheet, layouts = csv_tables(files, settings, notice)
    return _files(settings, sheet, {one.path: partial(csv_records, one) for one in layouts})


def read_parquet(settings: Parquet, notice: Notice) -> list[Partition]:
    """List the tasks of a Parquet file or of a folder of them; see partitions_of."""
    files = table_files(settings.path, PARQUET_ENDINGS)
    sheet = Sheet.typed(settings, notice)
    sources = {file: partial(parquet_records, file, settings) for file in files}
    return _files(settings, sheet, sources)


def parquet_records(path: Path, columns: TableColumns) -> Iterator[Located]:
    """Yield the place and the values of each row."""
    parquet = library("pyarrow.parquet", "tables", "Parquet")
    try:
        file = parquet.ParquetFile(path)
        require_columns(str(path), columns, file.schema_arrow.names)
        kinds = {column: str(file.schema_arrow.field(column).type) for column in columns.columns}
        row = 0
        for batch in file.iter_batches(columns=list(columns.columns)):
            for values in batch.to_pylist():
                row += 1
                yield f"{path}: row {row}", _narrowed(values, kinds)
    except UserError:
        raise
    except Exception as error:  # of pyarrow's many kinds
        raise UserError(f"{path}: must be a Parquet file: {error}") from error


def _narrowed(values: Record, kinds: dict[str, str]) -> Record:
    """Keep numbers of few bits as such, so that 0.1 is not 0.10000000149011612."""
    for column, kind in kinds.items():
        if kind in NARROW and values[column] is not None:
            values[column] = NARROW[kind](values[column])
    return values


def read_huggingface(settings: HuggingFace, notice: Notice) -> list[Partition]:
    """List the tasks of a Hugging Face set on disk; see partitions_of."""
    if not settings.path.is_dir():
        raise UserError(f"{settings.path}: must be a folder that save_to_disk wrote")
    folder_state(settings.path, str(settings.path))  # of another kind is refused
    return rows_by_task(settings, Sheet.typed(settings, notice), _huggingface_rows(settings), "all")


def _huggingface_rows(settings: HuggingFace) -> Iterator[Located]:
    datasets = library("datasets", "datasets", "data.kind = 'huggingface'")
    with foreign_errors(str(settings.path)):
        splits = saved_splits(settings.path)
    filled = tuple(split for split, rows in splits.items() if len(rows))
    for split in filled if settings.split is None else (settings.split,):
        if split not in filled:
            empty = ", which has no rows" if split in splits else ""
            raise UserError(
                f"{settings.path}: data.split must be one of {', '.join(filled)}, found "
                f"{split!r}{empty}"
            )
        place = f"{settings.path}: {split}"
        require_columns(place, settings, splits[split].column_names)
        table = splits[split].with_format(None)
        if settings.image is not None:  # bytes, which we decode ourselves
            table = table.cast_column(settings.image, datasets.Image(decode=False))
        named = getattr(table.features[settings.label], "int2str", None)
        kinds = {name: str(getattr(table.features[name], "dtype", "")) for name in settings.columns}
        for row, values in enumerate(table.select_columns(list(settings.columns))):
            label = values[settings.label]
            if named is not None and label is not None:
                values[settings.label] = named(label) if label >= 0 else None
            yield f"{place} {row}", _narrowed(values, kinds)


def table_files(path: Path, endings: tuple[str, ...]) -> list[Path]:
    """Return a file, or the files in a folder; raise UserError if one has no such ending."""
    if path.is_dir():
        files = list(inside(path, "tables"))
    elif path.is_file():
        files = [path]
    else:
        raise UserError(f"{path}: must be a file or a folder, found nothing")
    for file in files:
        if fault := link_fault(file) if path.is_dir() else "":
            raise UserError(f"{file}: {fault}")
        if file.suffix.lower() not in endings:
            raise UserError(f"{file}: must end with {' or '.join(endings)}{_advice(file)}")
    if not files:
        raise UserError(f"{path}: must hold files that end with {' or '.join(endings)}, found none")
    return files


def _advice(file: Path) -> str:
    if file.suffix.lower() not in SHEETS:
        return ""
    return "; a spreadsheet is read once it is saved as CSV in UTF-8, or as Parquet"


def _files(settings: CSV | Parquet, sheet: Sheet, sources: Sources) -> list[Partition]:
    if settings.task or settings.date or settings.path.is_file():
        located = (row for read in sources.values() for row in read())
        return rows_by_task(settings, sheet, located, "all")
    whole = [
        Partition(word_of(file.stem), False, partial(_parsed, sheet, read))
        for file, read in sources.items()
    ]
    return in_order(whole, settings.complete)


def _parsed(sheet: Sheet, read: Callable[[], Iterator[Located]]) -> Iterator[Row | Fault]:
    return (_row_or_fault(sheet, *located) for located in read())


def _row_or_fault(sheet: Sheet, place: str, values: Record | None) -> Row | Fault:
    try:
        return sheet.row(place, _whole(values))
    except UserError as error:
        return Fault(place, str(error))


def _whole(values: Record | None) -> Record:
    if values is None:
        raise UserError(RAGGED)
    return values


def rows_by_task(
    settings: Table, sheet: Sheet, located: Iterable[Located], otherwise: str
) -> list[Partition]:
    """Deal rows out to tasks by the column of tasks or of dates; see partitions_of."""
    tasks: dict[str, list[Row | Fault]] = {}
    strays: list[Fault] = []
    for place, values in located:
        try:
            task = _task(settings, sheet, _whole(values), otherwise)
        except UserError as error:  # belongs to no task, and is reported with all
            strays.append(Fault(place, str(error)))
            continue
        tasks.setdefault(task, []).append(_row_or_fault(sheet, place, values))
    if not tasks:
        source = getattr(settings, "path", "the database")
        told = f"; {listed(strays)}" if strays else ""
        raise UserError(f"{source}: must have rows, found none{told}")
    found = [Partition(name, False, partial(list, strays + rows)) for name, rows in tasks.items()]
    return in_order(found, settings.complete)


def _task(settings: Table, sheet: Sheet, values: Record, otherwise: str) -> str:
    if settings.task is not None:
        return sheet.needed(values, settings.task)
    if settings.date is not None:
        return period_of(sheet.date(values, settings.date), settings.period)
    return otherwise


def library(module: str, extra: str, wanted_by: str) -> Any:
    """Import an optional package; raise UserError that names the extra which brings it."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise UserError(
            f"{wanted_by} needs the package {module.partition('.')[0]!r}, which is missing; "
            f'install it with: pip install "fedbridge[{extra}]"'
        )
    return importlib.import_module(module)
