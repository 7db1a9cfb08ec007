"""CSV files: how each is written, on which line every record stands, and their values by pandas."""

import csv
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedbridge.config.columns import CSVColumns
from fedbridge.core.errors import UserError
from fedbridge.core.words import composed
from fedbridge.data.readers.encodings import encoding_of, lines_of
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.sheet import Record, Sheet, require_columns
from fedbridge.data.readers.signs import Evidence, found_signs

SEPARATORS = (",", ";", "\t", "|")
BLOCK = 20_000  # records that pandas returns at once
OTHERS = 1000  # records of which columns that are not read are looked at too
MANY = 50_000  # different values that are looked at
ROW, RAGGED, BLANK = range(3)  # what a record may be


@dataclass(frozen=True)
class Layout:
    """How a file is written, and where its records stand."""

    path: Path
    encoding: str
    separator: str
    columns: int
    before: int
    """Records through the header."""
    places: dict[str, int]
    """Of each column that is read which one it is, from 0."""
    lines: "array[int]" = field(default_factory=lambda: array("q"))
    """The first line of each record after the header."""
    kinds: bytearray = field(default_factory=bytearray)
    """What each of them is."""


def csv_tables(
    files: Sequence[Path], settings: CSVColumns, notice: Notice
) -> tuple[Sheet, list[Layout]]:
    """Look at all files of a table once, and return how they are written and read.

    Raises UserError naming file and rule if one is no CSV file, or a column is not there.
    """
    features, others = _Seen(), _Seen()
    layouts = []
    for path in files:
        with _words(path):
            layouts.append(_laid_out(path, settings, notice))
            _look_through(layouts[-1], settings, features, others)
    comma = all(layout.separator == "," for layout in layouts)  # else it may be a decimal sign
    found = found_signs(features.evidence, others.evidence, settings, "." if comma else "")
    notice.guess(*found.guessed)
    notice.doubt(*found.odd)
    return Sheet(settings, notice, found.signs), layouts


def csv_records(layout: Layout) -> Iterator[tuple[str, Record | None]]:
    """Yield the place and the values of each row, None where it does not fit the header."""
    with _words(layout.path):
        rows = _rows(layout)
        next(rows)
        for line, kind in zip(layout.lines, layout.kinds, strict=True):
            place = f"{layout.path}: line {line}"
            values = next(rows, None)
            if values is None:
                raise _unlike(place)
            if kind == ROW:
                yield place, dict(zip(layout.places, values, strict=True))
            elif kind == RAGGED:
                yield place, None
        if next(rows, None) is not None:
            raise _unlike(str(layout.path))


def _unlike(place: str) -> UserError:
    return UserError(f"{place}: its quotes leave open where a value ends")


def _rows(layout: Layout) -> Iterator[tuple[Any, ...]]:
    """Yield what pandas reads of each record, all values as text; of ragged ones what exists."""
    import pandas

    with layout.path.open(encoding=layout.encoding) as file:
        try:
            blocks = pandas.read_csv(
                file,
                sep=layout.separator,
                header=None,
                names=range(layout.columns),
                index_col=False,
                usecols=sorted(layout.places.values()),
                skiprows=layout.before - 1,  # the header sets the width of the table
                skip_blank_lines=False,
                dtype=object,
                na_filter=False,
                chunksize=BLOCK,
            )
            for block in blocks:
                yield from zip(*(block[n].tolist() for n in layout.places.values()), strict=True)
        except pandas.errors.EmptyDataError:
            return
        except pandas.errors.ParserError as error:
            raise UserError(f"{layout.path}: must be CSV: {error}") from error


@dataclass
class _Seen:
    """Different values of some columns, and what they tell of signs."""

    evidence: Evidence = field(default_factory=Evidence)
    values: set[str] = field(default_factory=set)

    def see(self, value: str) -> None:
        if value not in self.values and not value.isdigit():
            if len(self.values) < MANY:
                self.values.add(value)
            self.evidence.see(value)


def _laid_out(path: Path, settings: CSVColumns, notice: Notice) -> Layout:
    encoding = encoding_of(path, settings, notice)
    headers = {sign: _header(path, encoding, sign, settings) for sign in SEPARATORS}
    separator = settings.separator
    if separator is None:
        separator = max(SEPARATORS, key=lambda sign: _fitness(headers[sign][1], settings))
        if separator != ",":
            notice.guess(
                f"{separator!r} as what stands between values; {settings.where}.separator states it"
            )
    elif separator not in headers:
        headers[separator] = _header(path, encoding, separator, settings)
    before, header = headers[separator]
    require_columns(str(path), settings, header, _forgotten(headers, separator, settings))
    places = {column: header.index(composed(column)) for column in settings.columns}
    return Layout(path, encoding, separator, len(header), before, places)


def _header(
    path: Path, encoding: str, separator: str, settings: CSVColumns
) -> tuple[int, list[str]]:
    """Return the number of records through the header, and the names in it."""
    reader = csv.reader(lines_of(path, encoding, settings.where), delimiter=separator)
    for count, fields in enumerate(reader, start=1):
        hint = bool(fields) and fields[0].lower().startswith("sep=")  # which Excel alone reads
        if any(name.strip() for name in fields) and not hint:
            return count, [composed(name) for name in fields]
    raise UserError(f"{path}: must have a header, found an empty file")


def _fitness(header: list[str], settings: CSVColumns) -> tuple[int, int]:
    """Return how many columns are found that are wanted, and how many there are at all."""
    return sum(composed(column) in header for column in settings.columns), len(header)


def _forgotten(
    headers: dict[str, tuple[int, list[str]]], separator: str, settings: CSVColumns
) -> str:
    """Suggest another separator where it makes more of the header than the one that is stated."""
    best = max(headers, key=lambda sign: _fitness(headers[sign][1], settings))
    if _fitness(headers[best][1], settings) <= _fitness(headers[separator][1], settings):
        return ""
    count = len(headers[separator][1])
    reads = "as one column" if count == 1 else f"as {count} columns"
    return f"; the header reads {reads}: did you mean {settings.where}.separator = {best!r}?"


def _look_through(layout: Layout, settings: CSVColumns, features: _Seen, others: _Seen) -> None:
    """Note the line of every record, and what its numbers tell; raise UserError on stray quotes."""
    wanted = [layout.places[column] for column in settings.features or ()]
    rest = [place for place in range(layout.columns) if place not in wanted]
    lines = lines_of(layout.path, layout.encoding, settings.where)
    reader = csv.reader(lines, delimiter=layout.separator, strict=True)
    last = 0
    try:
        for number, fields in enumerate(reader):
            first, last = last + 1, reader.line_num
            if number < layout.before:
                continue
            layout.lines.append(first)
            layout.kinds.append(kind := _kind(fields, layout.columns))
            if kind == ROW:
                for place in wanted:
                    features.see(fields[place])
                for place in rest if number < OTHERS else ():
                    others.see(fields[place])
    except csv.Error as error:
        raise UserError(f"{layout.path}: line {last + 1}: must be CSV: {error}") from error


def _kind(fields: list[str], columns: int) -> int:
    if len(fields) == columns:
        return ROW
    if not fields or (len(fields) == 1 and not fields[0].strip()):
        return BLANK
    return RAGGED


@contextmanager
def _words(path: Path) -> Iterator[None]:
    """Turn a failure to read a file into a UserError."""
    try:
        yield
    except UnicodeError as error:
        raise UserError(f"{path}: must be in one encoding throughout: {error}") from error
    except csv.Error as error:
        raise UserError(f"{path}: must be CSV: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
