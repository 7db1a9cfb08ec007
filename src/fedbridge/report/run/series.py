"""What the figures show: means over clients and tasks of a run's scores."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.metrics import AccuracyRow

Curve = list[tuple[int, float]]


def select(scores: Iterable[AccuracyRow], predictor: str, protocol: str) -> list[AccuracyRow]:
    """Return the scores of one predictor under one protocol."""
    return [s for s in scores if s.predictor == predictor and s.protocol == protocol]


def curve(scores: Iterable[AccuracyRow]) -> Curve:
    """Return (task i, mean over clients of the mean accuracy on tasks j <= i), i from 1.

    Tasks are each client's own. A client that has fewer stays in the mean with its last value.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for score in scores:
        if 1 <= score.on_task <= score.after_task:
            tasks = found.setdefault(score.client, {})
            tasks.setdefault(score.after_task, []).append(score.accuracy)
    curves = [{i: float(np.mean(v)) for i, v in tasks.items()} for tasks in found.values()]
    return [
        (task, float(np.mean([_latest(own, task) for own in curves if min(own) <= task])))
        for task in sorted({task for own in curves for task in own})
    ]


def heat(scores: Sequence[AccuracyRow]) -> NDArray[np.float64]:
    """Return the mean over clients after task i (row, from 0) on task j (column, from 1).

    Tasks are each client's own, and a cell is the mean over those that have it.

    The result is ``(T + 1, T)``, for an unfinished run what there is of it; NaN where nothing
    was measured.
    """
    shape = (max(s.after_task for s in scores) + 1, max(s.on_task for s in scores))
    totals, counts = np.zeros(shape), np.zeros(shape)
    for score in scores:
        totals[score.after_task, score.on_task - 1] += score.accuracy
        counts[score.after_task, score.on_task - 1] += 1
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def _latest(own: dict[int, float], task: int) -> float:
    return own[max(i for i in own if i <= task)]
