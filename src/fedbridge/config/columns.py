"""Which column of a table is what, and how its values are written, wherever the table lies."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedbridge.config.section import Section
from fedbridge.core.words import MISSING

Column = Annotated[str, Field(min_length=1)]
Sign = Annotated[str, Field(min_length=1, max_length=1)]


def _codec(name: str) -> str:
    try:
        "".encode(name)
    except LookupError:
        raise ValueError("must be an encoding such as utf-8, utf-16 or cp1252") from None
    return name


class Values(Section):
    """How the values of a table are written; what is not stated is found out, and said."""

    where: ClassVar[str] = "data"
    """The section in which these settings stand, for errors."""
    missing: tuple[str, ...] = MISSING
    """Words that mean that there is no value; a place that is empty or blank has none either."""
    decimal: Literal[".", ","] | None = None
    """What stands before the fraction of numbers that are texts. By default CSV files tell it by
    their numbers, elsewhere it is a point."""
    thousands: Sign | None = None
    """What stands between groups of three digits; by default as their numbers tell."""

    @model_validator(mode="after")
    def _signs_differ(self) -> Self:
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands must differ, found {self.decimal!r} as both")
        return self


class Written(Section):
    """How a CSV file is written; what is not stated is found out, and said."""

    separator: Sign | None = None
    """What stands between two values in CSV; by default a comma, unless the header needs another:
    a semicolon, a tab or a bar."""
    encoding: Annotated[str, AfterValidator(_codec)] | None = None
    """How CSV holds letters; by default UTF-8 or, if it begins so, UTF-16; else cp1252."""


class TableColumns(Values):
    """What is read of a row; each row is an item."""

    more: ClassVar[tuple[str, ...]] = ()
    """Further settings that name a column each."""
    labelled: ClassVar[bool] = True
    """Whether items have classes."""
    label: Column = "label"
    """Column of classes."""
    text: Column | None = None
    """Column of texts, each of which is an item as it stands."""
    features: Annotated[tuple[Column, ...], Field(min_length=1, max_length=48)] | None = None
    """Columns of numbers or words. The FM reads a row as the text ``column: value, column:
    value``; small models for texts read each word, and each number at two precisions."""
    group: Column | None = None
    """Column that is equal for rows that belong together (a patient): all are on one side."""
    task: Column | None = None
    """Column that names the task of a row; tasks are taken in the order of their names."""
    date: Column | None = None
    """Column of dates; each period is a task."""
    date_format: Annotated[str, Field(min_length=1)] | None = None
    """How dates are written where they are texts, as ``strptime`` has it (``%d.%m.%Y``); by default
    2025-01-31, with or without a time of day."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        return tuple(dict.fromkeys(column for _, column in self.roles))

    @property
    def roles(self) -> tuple[tuple[str, str], ...]:
        """Every setting that names a column, with the column."""
        label = ("label",) if self.labelled else ()
        named = (*label, "text", "group", "task", "date", *self.more)
        found = [(role, column) for role in named if (column := getattr(self, role)) is not None]
        return (*found, *(("features", column) for column in self.features or ()))

    def check_columns(self) -> None:
        """Raise ValueError unless one content is named, and at most one of task and date."""
        contents = [self.text, self.features, getattr(self, "image", None)]
        if sum(content is not None for content in contents) != 1:
            known = "text, features or image" if hasattr(self, "image") else "text or features"
            raise ValueError(f"must name exactly one of {known}")
        if self.task and self.date:
            raise ValueError(f"must name task or date, not both: {self.task!r} and {self.date!r}")


class CSVColumns(TableColumns, Written):
    """What is read of a row of a CSV file, and how that is written."""
