"""Metrics of one's own: found by ``MODULE:NAME``, measured beside ours, never in their way."""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from fedbridge.core.entries import entry_at, foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.core.metrics import (
    PREDICTORS,
    PROTOCOLS,
    AccuracyRow,
    AccuracyTable,
    Metric,
    Summary,
    summarise,
)

FIELD = "track.metrics"


def own_metrics(names: Iterable[str]) -> dict[str, Metric]:
    """Return the metrics that a config names; raise UserError if there is none of a name."""
    return {name: entry_at(name, name, FIELD, Metric) for name in names}


def with_own(
    results: Summary, rows: Sequence[AccuracyRow], own: Mapping[str, Metric]
) -> tuple[Summary, list[str]]:
    """Return results with those of one's own metrics, and what went wrong with these, as lines.

    A metric that raises, or returns no number, is None throughout; all other numbers stay.
    """
    found: Summary = {
        predictor: {protocol: dict(values) for protocol, values in protocols.items()}
        for predictor, protocols in results.items()
    }
    troubles = []
    for name, metric in own.items():
        try:
            measured = summarise(rows, {name: guarded(name, metric)})
        except UserError as error:
            troubles.append(f"{error}; all other numbers are kept")
            measured = summarise(rows, {name: replace(metric, measure=lambda table: math.nan)})
        for predictor, protocols in measured.items():
            for protocol, values in protocols.items():
                found[predictor][protocol].update(values)
    return found, troubles


def guarded(name: str, metric: Metric) -> Metric:
    """Return a metric that raises UserError, naming it, where it raises or returns no number."""

    def measure(table: AccuracyTable) -> float:
        with foreign_errors(name, FIELD):
            value = metric.measure(table)
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise UserError(
                f"{FIELD}: {name} must return a number, found {type(value).__name__} for "
                f"{table.predictor}, {table.protocol}"
            )
        return float(value)

    return replace(metric, measure=measure)


def described(own: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """Return what a run's summary says of its own metrics, so that no reader needs the modules."""
    return {
        name: {
            "title": metric.title,
            "summary": metric.summary,
            "better": metric.better,
            "signed": metric.signed,
            "predictor": metric.predictors[0],
        }
        for name, metric in own.items()
    }


def check_metric(metric: Metric) -> None:
    """Check that a metric says what it is, gives a number or NaN, and depends on the table alone.

    For one's own tests; raises AssertionError, or the UserError that a run would note, saying what
    is not kept. Tables are of two clients with one to three tasks.
    """
    assert metric.title and metric.summary, "title and summary must say what it is"
    for tasks in (1, 2, 3):
        rows = _made_up(tasks)
        before = list(rows)
        found = summarise(rows, {"it": guarded("the metric", metric)})
        assert rows == before, "must leave the rows as they are"
        assert found == summarise(rows, {"it": metric}), "must give the same number every time"
        assert set(found) >= set(metric.predictors), "must be of predictors that there are"


def _made_up(tasks: int) -> list[AccuracyRow]:
    """Return all measurements of two clients, of which each knows another part of its tasks."""
    places = product("ab", range(tasks + 1), range(1, tasks + 1), PREDICTORS, PROTOCOLS)
    return [
        AccuracyRow(*place, correct=(7 * number) % 11, n=10 + (place[0] == "b"))
        for number, place in enumerate(places)
    ]
