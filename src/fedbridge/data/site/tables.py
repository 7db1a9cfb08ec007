"""Tables of a site: CSV, Parquet and Hugging Face sets, row by row, as texts, cells or pictures."""

import csv
import datetime
import difflib
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fedbridge.config.columns import Columns
from fedbridge.config.site import CSV, HuggingFace, Parquet, Table
from fedbridge.data.faults import Fault, listed
from fedbridge.data.hub import foreign_errors, saved_splits, state_of
from fedbridge.data.pixels import Encoded, levels_of
from fedbridge.data.site.cells import Cells, as_word, cells, is_missing
from fedbridge.data.site.rows import (
    UNLABELLED,
    Partition,
    Row,
    in_order,
    inside,
    link_fault,
)
from fedbridge.errors import UserError

Record = dict[str, Any]
Located = tuple[str, Record | None]  # where a row stands, and its values by column, if it has any
CSV_ENDINGS = (".csv", ".tsv", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")
RAGGED = "must have a value for each column of the header"

NAMES: dict[str, str] = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
"""Names of periods, which sort as time goes."""


def read_csv(settings: CSV) -> list[Partition]:
    """List the tasks of a CSV file or of a folder of them; see partitions_of."""
    return _files(settings, settings.path, CSV_ENDINGS, _csv_rows)


def _csv_rows(settings: CSV, path: Path) -> Iterator[Located]:
    return csv_records(path, settings, settings.separator)


def csv_records(path: Path, columns: Columns, separator: str) -> Iterator[Located]:
    """Yield the place and the values of each row, None where it does not fit the header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=separator, strict=True)
            require_columns(str(path), columns, reader.fieldnames or ())
            for values in reader:
                ragged = None in values or None in values.values()
                yield f"{path}: line {reader.line_num}", None if ragged else dict(values)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: must be a CSV file in UTF-8: {error}") from error


def read_parquet(settings: Parquet) -> list[Partition]:
    """List the tasks of a Parquet file or of a folder of them; see partitions_of."""
    return _files(settings, settings.path, PARQUET_ENDINGS, _parquet_rows)


def _parquet_rows(settings: Parquet, path: Path) -> Iterator[Located]:
    return parquet_records(path, settings)


def parquet_records(path: Path, columns: Columns) -> Iterator[Located]:
    """Yield the place and the values of each row."""
    parquet = library("pyarrow.parquet", "tables", "Parquet")
    try:
        file = parquet.ParquetFile(path)
        require_columns(str(path), columns, file.schema_arrow.names)
        row = 0
        for batch in file.iter_batches(columns=list(columns.columns)):
            for values in batch.to_pylist():
                row += 1
                yield f"{path}: row {row}", values
    except UserError:
        raise
    except Exception as error:  # of pyarrow's many kinds
        raise UserError(f"{path}: must be a Parquet file: {error}") from error


def read_huggingface(settings: HuggingFace) -> list[Partition]:
    """List the tasks of a Hugging Face set on disk; see partitions_of."""
    if not settings.path.is_dir():
        raise UserError(f"{settings.path}: must be a folder that save_to_disk wrote")
    state_of(settings.path, str(settings.path))  # of another kind is refused
    return by_task(settings, _huggingface_rows(settings), "all")


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
        for row, values in enumerate(table.select_columns(list(settings.columns))):
            label = values[settings.label]
            if named is not None and label is not None:
                values[settings.label] = named(label) if label >= 0 else None
            yield f"{place} {row}", values


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
            raise UserError(f"{file}: must end with {' or '.join(endings)}")
    if not files:
        raise UserError(f"{path}: must hold files that end with {' or '.join(endings)}, found none")
    return files


def _files(
    settings: CSV | Parquet,
    path: Path,
    endings: tuple[str, ...],
    read: Callable[[Any, Path], Iterator[Located]],
) -> list[Partition]:
    files = table_files(path, endings)
    if settings.task or settings.date or path.is_file():
        return by_task(settings, (row for file in files for row in read(settings, file)), "all")
    whole = [Partition(file.stem, False, partial(_parsed, settings, file, read)) for file in files]
    return in_order(whole, settings.complete)


def _parsed(
    settings: CSV | Parquet, file: Path, read: Callable[[Any, Path], Iterator[Located]]
) -> Iterator[Row | Fault]:
    return (_row_or_fault(settings, *located) for located in read(settings, file))


def _row_or_fault(settings: Table, place: str, values: Record | None) -> Row | Fault:
    try:
        return row_of(settings, place, _whole(values))
    except UserError as error:
        return Fault(place, str(error))


def _whole(values: Record | None) -> Record:
    if values is None:
        raise UserError(RAGGED)
    return values


def by_task(settings: Table, located: Iterable[Located], otherwise: str) -> list[Partition]:
    """Deal rows out to tasks by the column of tasks or of dates; see partitions_of."""
    tasks: dict[str, list[Row | Fault]] = {}
    strays: list[Fault] = []
    for place, values in located:
        try:
            task = _task(settings, _whole(values), otherwise)
        except UserError as error:  # belongs to no task, and is told with all
            strays.append(Fault(place, str(error)))
            continue
        tasks.setdefault(task, []).append(_row_or_fault(settings, place, values))
    if not tasks:
        told = f"; {listed(strays)}" if strays else ""
        raise UserError(f"{_source(settings)}: must have rows, found none{told}")
    found = [Partition(name, False, partial(list, strays + rows)) for name, rows in tasks.items()]
    return in_order(found, settings.complete)


def row_of(settings: Columns, place: str, values: Record) -> Row:
    """Return the item of a row of a table."""
    content: str | Encoded | Cells
    if settings.features is not None:
        content = cells({name: values[name] for name in settings.features})
    elif settings.text is not None:
        text = values[settings.text]
        content = "" if is_missing(text) else str(text)
    else:
        picture = values[getattr(settings, "image", "")]
        content = Encoded(partial(_picture_bytes, picture), levels_of(settings))
    return labelled(settings, place, values, content)


def labelled(settings: Columns, place: str, values: Record, content: str | Encoded | Cells) -> Row:
    """Return an item of this content with the label and the group of a row."""
    label = values[settings.label] if settings.labelled else UNLABELLED
    group = None
    if settings.group is not None and not is_missing(values[settings.group]):
        group = str(values[settings.group])
    return Row(place, None if is_missing(label) else as_word(label), content, group)


def _task(settings: Table, values: Record, otherwise: str) -> str:
    column = settings.task or settings.date
    if column is None:
        return otherwise
    value = values[column]
    if is_missing(value):
        raise UserError(f"must have a value in column {column!r}, found none")
    if settings.task is not None:
        return as_word(value)
    return as_date(column, value).strftime(NAMES[settings.period])


def as_date(column: str, value: Any) -> datetime.date:
    """Return a date, or date and time; raise UserError if the value is none."""
    if isinstance(value, datetime.date):
        return value
    try:
        return datetime.datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise UserError(
            f"column {column!r} must hold dates such as 2025-01-31, found {value!r}"
        ) from error


def _picture_bytes(value: Any) -> bytes:
    data = (value or {}).get("bytes")
    if not isinstance(data, bytes):
        raise ValueError("the picture must lie in the data set itself, found none there")
    return data


def require_columns(place: str, settings: Columns, found: Iterable[str]) -> None:
    """Raise UserError naming the setting if a column that it names is not there."""
    known = tuple(found)
    for role, column in settings.roles:
        if column not in known:
            close = difflib.get_close_matches(column, known, n=1)
            raise UserError(
                f"{place}: {settings.where}.{role}: must be one of the columns "
                f"{', '.join(known)}, found {column!r}"
                + (f"; did you mean {close[0]!r}?" if close else "")
            )


def _source(settings: Table) -> str:
    return str(getattr(settings, "path", "the database"))


def library(module: str, extra: str, wanted_by: str) -> Any:
    """Import an optional package; raise UserError that names the extra which brings it."""
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise UserError(
            f"{wanted_by} needs the package {module.partition('.')[0]!r}, which is missing; "
            f'install it with: pip install "fedbridge[{extra}]"'
        )
    return importlib.import_module(module)
