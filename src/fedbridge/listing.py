"""What a config can name: the rows of ``fedbridge list``, and their table."""

from typing import TYPE_CHECKING, Literal

from fedbridge.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

What = Literal["learners", "fusions", "heads", "models", "datasets"]
Rows = list[tuple[str, ...]]


def available(what: What) -> list[dict[str, str]]:
    """Return a row for everything that a config can name, with what it is.

    Raises UserError if ``what`` is none of learners, fusions, heads, models and datasets.
    """
    header, *lines = _rows(what)
    return [dict(zip(header, line, strict=True)) for line in lines]


def listing(what: What) -> "Table":
    """Return the same as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    header, *lines = _rows(what)
    table = Table(title=what, box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(header):
        # what a config would say is in one piece, and nothing is cut off
        table.add_column(column, no_wrap=place == 0, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def _rows(what: What) -> Rows:
    known = {
        "learners": _learners,
        "fusions": _fusions,
        "heads": _heads,
        "models": _models,
        "datasets": _datasets,
    }
    if what not in known:
        raise UserError(f"what: must be one of {', '.join(known)}, found {what!r}")
    return known[what]()


def _learners() -> Rows:
    from fedbridge.methods.registry import LEARNERS

    lines = [(name, _first_line(one.options)) for name, one in LEARNERS.items()]
    return [("name", "what it does"), *lines]


def _fusions() -> Rows:
    from fedbridge.methods.registry import FUSIONS

    lines = [(name, _first_line(one.options)) for name, one in FUSIONS.items()]
    return [("name", "what it does"), *lines]


def _heads() -> Rows:
    from fedbridge.methods.registry import HEADS

    lines = [(name, _first_line(one.options)) for name, one in HEADS.items()]
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


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]
