"""How one's own files are read, and where they lie."""

import difflib
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fedbridge.config.columns import Column, CSVColumns, TableColumns, Values, Written
from fedbridge.config.section import Levels, Positive, Section
from fedbridge.core.entries import is_own

PATHS = ("folder", "csv", "parquet")
"""Kinds of own data that a path follows: ``folder:DIR``, ``csv:FILE``, ``parquet:FILE``."""
TABLES = ("csv", "parquet")
"""Those that are tables."""
ARRAYS = "arrays"
"""The kind that ``fedbridge.data.from_arrays`` has put into the cache."""
ALL = ("broken", "min_class_items", "side")
TABLE = (*ALL, *TableColumns.model_fields, "image", "levels", "domain", "split", "period")
FIELDS = {
    "folder": (*ALL, "layout", "levels"),
    "csv": (*TABLE, *Written.model_fields),
    "parquet": TABLE,
    ARRAYS: ("levels",),
}
"""The settings that mean something to each kind."""
HUB_FIELDS = {"hf": ("levels", "broken"), "set": ("levels", "broken")}
"""The same of a public set that is a Hugging Face data set, by what its name begins with."""


OLDER_DEFAULTS = {"separator": ","}
"""What runs of older releases have written out."""


Side = Annotated[int, Field(ge=32)]


class Own(CSVColumns):
    """How ``folder:DIR``, ``csv:FILE`` or ``parquet:FILE`` is read."""

    where: ClassVar[str] = "data.own"
    named: ClassVar[str] = "data.name"
    """The setting that says where the files are, for errors."""
    more: ClassVar[tuple[str, ...]] = ("image", "domain", "split")
    layout: Literal[
        "class/file",
        "domain/class/file",
        "task/class/file",
        "domain/task/class/file",
        "split/class/file",
        "split/domain/class/file",
        "split/task/class/file",
        "split/domain/task/class/file",
    ] = "class/file"
    """What the folders in a folder of pictures mean. Those of ``split`` are ``train`` and
    ``test``: what lies in the latter is the test, no more and no less."""
    image: Column | None = None
    """Column of pictures: paths from the table's folder, or, in Parquet, the files' bytes."""
    domain: Column | None = None
    """Column that says where a row is from (a site, a style); by default all are of one domain.
    With ``scenario.clients_are = "domains"`` each is a client."""
    split: Column | None = None
    """Column that says ``train`` or ``test`` of each row: the latter are the test, no more and no
    less. By default the test is drawn."""
    period: Literal["day", "week", "month", "quarter", "year"] | Positive = "month"
    """Length of a period of ``date``, or the number of periods of equal length."""
    broken: Literal["refuse", "skip"] = "refuse"
    """What to do where files or rows cannot be used: refuse all, or leave those out and say so."""
    min_class_items: Positive = 1
    """Fewest items of a class; classes of fewer are left out."""
    side: Side = 96
    """Side in pixels at which pictures are kept for the FM; small models read 32."""
    levels: Levels = None
    """Which values of pictures of more than 8 bits are black and white, where that is not known:
    ``[-1000, 3000]``. Values beyond them are cut off there; those of 8 bits stay as they are."""

    @property
    def states_tasks(self) -> bool:
        """Whether the data themselves say which task an item belongs to."""
        return bool(self.task or self.date or "task" in self.layout)

    def check(self, name: str) -> None:
        """Raise ValueError if a setting means nothing to data of this name, or one is missing."""
        _check_fields(self, "data.own", name, "data.name", FIELDS)
        _check_content(self, name)
        if self.period != Own.model_fields["period"].default and not self.date:
            raise ValueError(f"data.own.period needs data.own.date, found {self.period!r} without")


class PublicOwn(Values, Written):
    """How ``folder:DIR``, ``csv:FILE`` or ``parquet:FILE`` is read where it is the public set.

    A folder's pictures are all that lie in it and below it; items need no class.
    """

    text: Column | None = None
    """Column of texts, each of which is an item as it stands."""
    features: Annotated[tuple[Column, ...], Field(min_length=1, max_length=48)] | None = None
    """Columns of numbers or words, read as those of ``data.own``."""
    image: Column | None = None
    """Column of pictures: paths from the table's folder, or, in Parquet, the files' bytes."""
    broken: Literal["refuse", "skip"] = "refuse"
    """What to do where files or rows cannot be used: refuse all, or leave those out."""
    side: Side = 96
    """Side in pixels at which pictures are kept for the FM."""
    levels: Levels = None
    """Which values of pictures of more than 8 bits are black and white, where that is not known."""

    def check(self, name: str) -> None:
        """Raise ValueError if a setting means nothing to a public set of this name, or lacks."""
        _check_fields(self, "data.public_own", name, "data.public", {**FIELDS, **HUB_FIELDS})
        _check_content(self.as_read(), name)

    def as_read(self) -> Own:
        """Return the same as the readers of own files take it."""
        return _Unlabelled(**self.model_dump())


class _Unlabelled(Own):
    where: ClassVar[str] = "data.public_own"
    named: ClassVar[str] = "data.public"
    labelled: ClassVar[bool] = False


def _check_fields(
    section: Section, where: str, name: str, of: str, fields_of: dict[str, tuple[str, ...]]
) -> None:
    """Raise ValueError if something is set that means nothing to data of this name."""
    kind, colon, _ = name.partition(":")
    known, default = fields_of.get(kind if colon else "", ()), type(section)()
    for field in type(section).model_fields:
        unset = getattr(default, field), OLDER_DEFAULTS.get(field)
        if field not in known and getattr(section, field) not in unset:
            fitting = [f"{kind}:" for kind, fields in fields_of.items() if field in fields]
            close = difflib.get_close_matches(kind, fields_of, n=1)
            raise ValueError(
                f"{where}.{field} is only for {of} = {' or '.join(fitting)}..., found it with "
                f"{name!r}" + (f"; did you mean '{close[0]}:'?" if close else "")
            )


def _check_content(columns: Own, name: str) -> None:
    """Raise ValueError unless a table's content is named once."""
    if kind_of(name) in TABLES:
        try:
            columns.check_columns()
        except ValueError as error:
            raise ValueError(f"{columns.where} {error}") from None
        if columns.levels is not None and columns.image is None:
            raise ValueError(
                f"{columns.where}.levels is only for pictures, found it without "
                f"{columns.where}.image"
            )


def kind_of(name: str) -> str:
    """Return the kind of own data that a ``data.name`` names; empty if it is none."""
    kind, colon, where = name.partition(":")
    return kind if colon and where and kind in (*PATHS, ARRAYS) else ""


def is_module(name: str) -> bool:
    """Say whether a ``data.name`` or ``data.public`` is somebody's own ``MODULE:NAME``."""
    return is_own(name) and name.partition(":")[0] not in (*PATHS, ARRAYS, *HUB_FIELDS)


def path_of(name: str) -> Path | None:
    """Return the path of own data that lie in files; None for other names."""
    return Path(name.partition(":")[2]).expanduser() if kind_of(name) in PATHS else None


def placed(name: str, folder: Path) -> str:
    """Return a ``data.name`` whose path, if it has one, counts from a folder."""
    path = path_of(name)
    return name if path is None else f"{kind_of(name)}:{(folder / path).absolute()}"


def title_of(name: str) -> str:
    """Return a ``data.name`` as it is shown: own data without the folders that lead there."""
    path = path_of(name)
    if path is not None:
        return f"{kind_of(name)}:{path.name}"
    return name[:15] if kind_of(name) else name
