"""Accuracy on each task after each task, and what was forgotten, as tables that can be coloured."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.metrics import AccuracyRow
from fedbridge.report.run.series import heat


class HeatCell(NamedTuple):
    """One number of a table in %, and how deep its colour is, in % of the deepest."""

    text: str
    depth: int
    ahead: bool = False
    """Whether it was measured before the task was learnt."""


class HeatMap(NamedTuple):
    """The tables' rows: a name and a cell for each task, None where nothing was measured."""

    rows: list[tuple[str, list[HeatCell | None]]]
    lost: list[HeatCell | None]
    """Final accuracy less the best before the last task: what is below 0 was forgotten."""


def heat_map(scores: Sequence[AccuracyRow]) -> HeatMap:
    """Return the means over clients of one predictor's scores; a client's tasks are its own."""
    values = heat(scores)
    rows = [
        (str(after) if after else "none", [_cell(v, j >= after) for j, v in enumerate(row)])
        for after, row in enumerate(values)
        if np.isfinite(row).any()
    ]
    return HeatMap(rows, [None if v is None else _loss(v) for v in forgotten(values)])


def forgotten(values: NDArray[np.float64]) -> list[float | None]:
    """Return of each task its best accuracy since it was learnt, less the last; last task: None.

    ``values (T + 1, T)`` are accuracies after each task (row, 0: untrained) on each (column); the
    last row is the last that was measured.
    """
    end = len(values) - 1
    found: list[float | None] = []
    for column in range(values.shape[1]):
        before, final = values[column + 1 : end, column], values[end, column]
        known = before[np.isfinite(before)]
        lost = float(known.max() - final) if len(known) and np.isfinite(final) else None
        found.append(lost)
    return found


def _cell(value: float, ahead: bool) -> HeatCell | None:
    return HeatCell(f"{100 * value:.0f}", round(100 * value), ahead) if np.isfinite(value) else None


def _loss(value: float) -> HeatCell:
    text = f"{-100 * value:+.0f}".replace("-", "−")
    return HeatCell("0" if text in ("+0", "−0") else text, max(0, round(100 * value)))
