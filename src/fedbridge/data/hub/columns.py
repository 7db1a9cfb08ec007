"""Columns of a Hugging Face data set: found by the kinds that it declares, and read."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Hub
from fedbridge.core.errors import UserError
from fedbridge.core.words import is_missing, word_of

TOLD = 10  # rows that an error names at most


@dataclass(frozen=True)
class HubColumns:
    """The names of the columns that are used."""

    content: str
    pictures: bool
    label: str
    domain: str | None
    group: str | None


def detect(name: str, features: Any, hub: Hub) -> HubColumns:
    """Return which column is what; raise UserError naming the setting that must decide."""
    kinds = {column: column_kind(feature) for column, feature in features.items()}
    for role in ("content", "label", "domain", "group"):
        asked = getattr(hub, role)
        if asked is not None and asked not in kinds:
            raise _undecided(name, role, kinds, f"found {asked!r}")
    label = hub.label or _label(name, kinds)
    content = hub.content or _content(name, kinds, {label, hub.domain, hub.group})
    if kinds[content] not in ("picture", "text"):
        raise _undecided(name, "content", kinds, f"must be of pictures or texts, found {content!r}")
    return HubColumns(content, kinds[content] == "picture", label, hub.domain, hub.group)


def column_kind(feature: Any) -> str:
    """Return in a word what a column holds."""
    import datasets

    if isinstance(feature, datasets.Image):
        return "picture"
    if isinstance(feature, datasets.ClassLabel):
        return "class"
    dtype = str(getattr(feature, "dtype", "other")) if isinstance(feature, datasets.Value) else ""
    if dtype in ("string", "large_string"):
        return "text"
    return "number" if dtype.startswith(("int", "uint", "bool")) else "other"


def _label(name: str, kinds: dict[str, str]) -> str:
    declared = [column for column, kind in kinds.items() if kind == "class"]
    if not declared and kinds.get("label") in ("text", "number"):
        return "label"
    if len(declared) != 1:
        raise _undecided(name, "label", kinds, "name the one that is the class")
    return declared[0]


def _content(name: str, kinds: dict[str, str], taken: set[str | None]) -> str:
    for wanted in ("picture", "text"):
        found = [column for column, kind in kinds.items() if kind == wanted]
        free = [column for column in found if column not in taken]
        if len(free) == 1:
            return free[0]
        if free:
            break
    raise _undecided(name, "content", kinds, "name the one that is to be classified")


def _undecided(name: str, role: str, kinds: dict[str, str], rule: str) -> UserError:
    listed = ", ".join(f"{column} ({kind})" for column, kind in kinds.items())
    return UserError(f"data.hub.{role}: {name} has the columns {listed}; {rule}")


def column_values(table: Any) -> list[Any]:
    """Return the values of a table of one column."""
    (column,) = table.column_names
    values: list[Any] = table[:][column]
    return values


def read_labels(
    name: str, table: Any, column: str, places: list[str], missing: Collection[str], role: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return a number per row ``(N,)`` and their names: of classes, or of another role's values.

    Classes in their declared order, else sorted; those that no row has are left out. Raises
    UserError if a row has none (``None``, an empty text, one of the ``missing`` words, a label of
    -1) or one that was not announced, or two have one name.
    """
    feature = table.features[column]
    kind = column_kind(feature)
    if kind not in ("class", "text", "number"):
        raise UserError(f"data.hub.{role}: {name}: {column!r} must hold classes, texts or integers")
    values = column_values(table.select_columns([column]))
    absent_rows = _missing(values, role, missing)
    if absent_rows:
        first = ", ".join(places[row] for row in absent_rows[:TOLD])
        more = ", ..." if len(absent_rows) > TOLD else ""
        given = {values[row] for row in absent_rows}
        said = sorted(value for value in given if isinstance(value, str) and value.strip())
        words = f", by the words {', '.join(map(repr, said))} of data.hub.missing" if said else ""
        raise UserError(
            f"data.hub.{role}: {name}: every row must have a {role}, but {column!r} is missing in "
            f"{len(absent_rows)} of {len(values)} ({first}{more}){words}; data.hub.splits can "
            f"leave out a split without"
        )
    strange = _strange(values, feature)
    if strange:
        raise UserError(
            f"data.hub.{role}: {name}: {column!r} must hold one of the {len(feature.names)} "
            f"classes that it announces, but {len(strange)} of {len(values)} rows do not, the "
            f"first being {places[strange[0]]} with {values[strange[0]]}"
        )
    used = sorted(set(values))
    words_of = {v: word_of(feature.int2str(int(v)) if kind == "class" else v) for v in used}
    names = tuple(dict.fromkeys(words_of.values()))
    if kind == "class" and len(names) < len(used):
        raise UserError(f"data.hub.{role}: {name}: {column!r} must not give two classes one name")
    numbers = {word: number for number, word in enumerate(names)}
    return np.array([numbers[words_of[value]] for value in values], np.int64), names


def unlabelled(table: Any, column: str, missing: Collection[str]) -> dict[int, str]:
    """Return the rows whose label is missing or was not announced, each with what is wrong."""
    values = column_values(table.select_columns([column]))
    faults = {
        row: f"column {column!r} must hold one of the classes that it announces, found "
        f"{values[row]!r}"
        for row in _strange(values, table.features[column])
    }
    absent = _missing(values, "label", missing)
    faults |= {row: f"must have a label in column {column!r}" for row in absent}
    return dict(sorted(faults.items()))


def _missing(values: list[Any], role: str, words: Collection[str]) -> list[int]:
    nothing = -1 if role == "label" else None
    return [row for row, v in enumerate(values) if v == nothing or is_missing(v, words)]


def _strange(values: list[Any], feature: Any) -> list[int]:
    if column_kind(feature) != "class":
        return []
    known = range(len(feature.names))
    return [row for row, value in enumerate(values) if value not in known]
