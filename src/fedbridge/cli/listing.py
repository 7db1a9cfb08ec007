"""What a config can name: the rows of ``fedbridge list``, and their table."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fedbridge.core.entries import FORM, entry_at, is_own
from fedbridge.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from fedbridge.config import Section

Rows = list[tuple[str, ...]]


def available(what: str) -> list[dict[str, str]]:
    """Return a row for everything that a config can name, with what it is.

    ``what`` is one of ``LISTS``; of somebody's own ``MODULE:NAME`` the rows are its options. Raises
    UserError if it is neither.
    """
    header, *lines = _options(described(what)) if is_own(what) else _rows(what)
    return [dict(zip(header, line, strict=True)) for line in lines]


def listing(what: str) -> "RenderableType":
    """Return the same as a table; above the options of one's own stands what it is."""
    if not is_own(what):
        return _table(what, _rows(what))
    from rich.console import Group
    from rich.markup import escape

    found = described(what)
    text = escape("\n".join((f"{what}: {found.what}, for {found.field}", *found.facts)))
    header, *lines = _options(found)
    own = (
        _table(escape(f"options, in [{found.place}]"), [header, *lines]) if lines else "no options"
    )
    return Group(text, "", own)


class Described(NamedTuple):
    """What somebody's own entry is."""

    what: str
    field: str
    """Where a config names it."""
    facts: tuple[str, ...]
    place: str
    """The section of its options."""
    options: "type[Section] | None"


def described(name: str) -> Described:
    """Return what ``MODULE:NAME`` is; raise UserError if it is nothing that a config can name."""
    found = entry_at(name, name, "list", object)
    catalogues = {title: find() for title, find in CATALOGUES.items()}
    for catalogue in catalogues.values():
        if isinstance(found, catalogue.kind):
            facts = tuple(_facts(found))
            options = getattr(found, "options", None)
            return Described(catalogue.one, catalogue.field, facts, catalogue.place, options)
    kinds = ", ".join(f"a {catalogue.kind.__name__}" for catalogue in catalogues.values())
    raise UserError(
        f"list: {name} must be {kinds}, found {type(found).__name__}; a function of models is "
        f"tried by fedbridge check"
    )


def _facts(spec: object) -> Iterator[str]:
    """Yield the fields of a spec that are words or numbers, and are set."""
    for field in fields(spec):  # type: ignore[arg-type]
        value = getattr(spec, field.name)
        if value and isinstance(value, tuple) and all(isinstance(one, str) for one in value):
            yield f"{field.name}: {', '.join(value)}"
        elif value and isinstance(value, str | int | float) and value != field.default:
            yield str(value) if field.name == "summary" else f"{field.name}: {value}"


def _options(found: Described) -> Rows:
    from fedbridge.config.described import settings_of

    settings = settings_of(found.options) if found.options is not None else []
    lines = [tuple(" ".join(each.replace("`", "").split()) for each in one) for one in settings]
    return [("option", "values", "default", "what it is"), *lines]


def _table(title: str, rows: Rows) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    header, *lines = rows
    table = Table(title=title, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(header):
        # what a config would say is in one piece, and nothing is cut off
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


class EntryKind(NamedTuple):
    """What one field of a config can name: our entries, and the kind of everybody else's."""

    one: str
    field: str
    registry: Mapping[str, Any]
    kind: type
    place: str
    """The section of options."""


def _data_sources() -> EntryKind:
    from fedbridge.data import DATASETS, DataSource

    return EntryKind("a data set", "data.name", DATASETS, DataSource, "data.options")


def _scenarios() -> EntryKind:
    from fedbridge.data import ScenarioKind
    from fedbridge.data.streams.scenario import SCENARIOS

    return EntryKind("a scenario", "scenario.kind", SCENARIOS, ScenarioKind, "scenario.options")


def _metrics() -> EntryKind:
    from fedbridge.core.metrics import METRICS, Metric

    return EntryKind("a metric", "track.metrics", METRICS, Metric, "track")


def _methods(part: str) -> EntryKind:
    from fedbridge.methods.registry import KEYS, KINDS, METHODS

    one, field = {"large": "head"}.get(part, part), f"{part}.{KEYS[part]}"
    return EntryKind(f"a {one}", field, METHODS[part], KINDS[part], part)


CATALOGUES: dict[str, Callable[[], EntryKind]] = {
    "learners": partial(_methods, "learner"),
    "fusions": partial(_methods, "fusion"),
    "heads": partial(_methods, "large"),
    "datasets": _data_sources,
    "scenarios": _scenarios,
    "metrics": _metrics,
}
"""What somebody's own ``MODULE:NAME`` may be; found when it is asked for, since that loads much."""


def _rows(what: str) -> Rows:
    if what not in LISTS:
        close = difflib.get_close_matches(what, LISTS, n=1)
        raise UserError(
            f"what: must be one of {', '.join(LISTS)} or {FORM}, found {what!r}"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    return LISTS[what]()


def _summaries(find: Callable[[], EntryKind]) -> Rows:
    """Return the names of a catalogue with what its entries say of themselves."""
    lines = [(name, _summary(entry)) for name, entry in find().registry.items()]
    return [("name", "what it is"), *lines]


def _models() -> Rows:
    from fedbridge.models import (
        FOUNDATION_MODELS,
        FOUNDATION_SOURCES,
        OWN,
        SMALL_MODELS,
        SMALL_SOURCES,
    )

    small = [(n, "small", e.modality, e.summary) for n, e in SMALL_MODELS.items()]
    large = [(n, "large", e.modality, e.summary) for n, e in FOUNDATION_MODELS.items()]
    own_small = [(e.form, "small", e.reads, e.summary) for e in (*SMALL_SOURCES.values(), OWN)]
    own_large = [(e.form, "large", e.reads, e.summary) for e in FOUNDATION_SOURCES.values()]
    return [("name", "side", "reads", "what it is"), *small, *own_small, *large, *own_large]


def _datasets() -> Rows:
    from fedbridge.data import DATASETS

    lines = [
        (n, e.summary, ", ".join(e.domains), f"{e.megabytes:.0f} MB", "; ".join(e.licences))
        for n, e in DATASETS.items()
    ]
    return [("name", "what it is", "domains", "download", "licences"), *lines]


def _summary(entry: Any) -> str:
    """Return what an entry says of itself, or its options, where it is a method."""
    words = getattr(entry, "summary", None) or entry.options.__doc__ or ""
    return str(words).strip().splitlines()[0]


LISTS: dict[str, Callable[[], Rows]] = {
    "learners": partial(_summaries, CATALOGUES["learners"]),
    "fusions": partial(_summaries, CATALOGUES["fusions"]),
    "heads": partial(_summaries, CATALOGUES["heads"]),
    "models": _models,
    "datasets": _datasets,
    "scenarios": partial(_summaries, _scenarios),
    "metrics": partial(_summaries, _metrics),
}
"""What can be listed."""
