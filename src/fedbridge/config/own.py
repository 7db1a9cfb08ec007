"""How one's own files are read, and where they lie."""

import difflib
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from fedbridge.config.columns import Column, Columns
from fedbridge.config.section import Positive

PATHS = ("folder", "csv", "parquet")
"""Kinds of own data that a path follows: ``folder:DIR``, ``csv:FILE``, ``parquet:FILE``."""
ARRAYS = "arrays"
"""The kind that ``fedbridge.data.from_arrays`` has put into the cache."""
ALL = ("broken", "least", "side")
TABLE = (*ALL, *Columns.model_fields, "image", "domain", "period")
FIELDS = {
    "folder": (*ALL, "layout"),
    "csv": (*TABLE, "separator"),
    "parquet": TABLE,
    ARRAYS: (),
}
"""The settings that mean something to each kind."""


class Own(Columns):
    """How ``folder:DIR``, ``csv:FILE`` or ``parquet:FILE`` is read."""

    where: ClassVar[str] = "data.own"
    layout: Literal[
        "class/file", "domain/class/file", "task/class/file", "domain/task/class/file"
    ] = "class/file"
    """What the folders in a folder of pictures mean."""
    image: Column | None = None
    """Column of pictures: paths from the table's folder, or, in Parquet, the files' bytes."""
    domain: Column | None = None
    """Column that says where a row is from (a site, a style); by default all are of one domain.
    With ``scenario.clients_are = "domains"`` each is a client."""
    period: Literal["day", "week", "month", "quarter", "year"] | Positive = "month"
    """Length of a period of ``date``, or the number of periods of equal length."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """What stands between two values in CSV."""
    broken: Literal["refuse", "skip"] = "refuse"
    """What to do where files or rows cannot be used: refuse all, or leave those out and say so."""
    least: Positive = 1
    """Fewest items of a class; classes of fewer are left out."""
    side: Annotated[int, Field(ge=32)] = 96
    """Side in pixels at which pictures are kept for the FM; small models read 32."""

    @property
    def states_tasks(self) -> bool:
        """Whether the data themselves say which task an item belongs to."""
        return bool(self.task or self.date or "task" in self.layout)

    def check(self, name: str) -> None:
        """Raise ValueError if a setting means nothing to data of this name, or one is missing."""
        kind = kind_of(name)
        known, default = FIELDS.get(kind, ()), Own()
        for field in Own.model_fields:
            if field not in known and getattr(self, field) != getattr(default, field):
                fitting = [f"{k}:" for k, fields in FIELDS.items() if field in fields]
                close = difflib.get_close_matches(name.partition(":")[0], FIELDS, n=1)
                raise ValueError(
                    f"data.own.{field} is only for data.name = {' or '.join(fitting)}..., found "
                    f"it with {name!r}" + (f"; did you mean '{close[0]}:'?" if close else "")
                )
        if kind in ("csv", "parquet"):
            try:
                self.check_columns()
            except ValueError as error:
                raise ValueError(f"data.own {error}") from None
        if self.period != default.period and not self.date:
            raise ValueError(f"data.own.period needs data.own.date, found {self.period!r} without")


def kind_of(name: str) -> str:
    """Return the kind of own data that a ``data.name`` names; empty if it is none."""
    kind, colon, where = name.partition(":")
    return kind if colon and where and kind in (*PATHS, ARRAYS) else ""


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
