"""Pure arithmetic on the accuracy tensor: one definition of each metric, and no other.

``accuracy`` is always ``(K, T + 1, T)``: entry ``[k, i, j - 1]`` is client k's accuracy after
task i (0: before any training) on the test data of task j, NaN where it was not measured.
Entries with ``j <= i`` are over the classes seen through task i, or over the task's own where
the task is given; ``[k, j - 1, j - 1]`` and ``[k, 0, j - 1]``, one task ahead and before any
training, are over the classes the client will have seen by task j.

A metric that needs an entry which was not measured is NaN, and so are forgetting and both
transfers where there is only one task.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fedbridge.errors import UserError

Accuracy = NDArray[np.float64]
Summary = dict[str, dict[str, dict[str, float | None]]]

PREDICTORS = ("small", "large", "together")
PROTOCOLS = ("class-incremental", "task-aware")


@dataclass(frozen=True)
class AccuracyRow:
    """One measurement: ``correct`` of ``n`` test items, tasks counted from 1 (0: untrained)."""

    client: str
    after_task: int
    on_task: int
    predictor: str
    protocol: str
    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        """The fraction of test items that were right."""
        return self.correct / self.n

    @property
    def place(self) -> tuple[str, int, int, str, str]:
        """What was measured: no two rows of a run have the same place."""
        return self.client, self.after_task, self.on_task, self.predictor, self.protocol


def final_accuracy(accuracy: Accuracy) -> float:
    """Return the mean over clients and tasks of ``A[T, j]``."""
    return _mean(accuracy[:, -1, :])


def average_incremental_accuracy(accuracy: Accuracy) -> float:
    """Return the mean over i of the mean over ``j <= i`` of ``A[i, j]``."""
    tasks = accuracy.shape[2]
    return _mean(np.stack([accuracy[:, i, :i].mean(axis=1) for i in range(1, tasks + 1)]))


def forgetting(accuracy: Accuracy) -> float:
    """Return the mean over ``j < T`` of ``max(A[i, j] for j <= i < T) - A[T, j]``.

    The last task cannot have been forgotten yet and does not count.
    """
    tasks = accuracy.shape[2]
    best = [accuracy[:, j:tasks, j - 1].max(axis=1) for j in range(1, tasks)]
    return _mean(np.array([top - accuracy[:, -1, j] for j, top in enumerate(best)]))


def backward_transfer(accuracy: Accuracy) -> float:
    """Return the mean over ``j < T`` of ``A[T, j] - A[j, j]``."""
    earlier = np.arange(accuracy.shape[2] - 1)
    return _mean(accuracy[:, -1, earlier] - accuracy[:, earlier + 1, earlier])


def forward_transfer(accuracy: Accuracy) -> float:
    """Return the mean over ``j > 1`` of ``A[j - 1, j] - b_j``, with ``b_j = A[0, j]``."""
    later = np.arange(1, accuracy.shape[2])
    return _mean(accuracy[:, later, later] - accuracy[:, 0, later])


def temporal_retention(accuracy: Accuracy) -> float:
    """Return the mean over clients of ``A[T, 1] / A[1, 1]`` (KR_t of arXiv 2312.16475)."""
    return _mean_ratio(accuracy[:, -1, 0], accuracy[:, 1, 0])


def spatial_retention(server: Accuracy, local: Accuracy) -> float:
    """Return the mean over clients of server ``A[T, T]`` / local ``A[T, T]``.

    KR_s of arXiv 2312.16475; the server's model is the large side, the local one the small
    model. A client whose denominator is zero is left out, as in ``temporal_retention``.
    """
    return _mean_ratio(server[:, -1, -1], local[:, -1, -1])


def tensor_from_rows(rows: Sequence[AccuracyRow], predictor: str, protocol: str) -> Accuracy:
    """Return one predictor's tensor; clients stand in the order in which ``rows`` first name them.

    K and T are taken from all rows, so that the tensors of one run are aligned. Raises
    UserError if a measurement is there twice.
    """
    clients = _client_numbers(rows)
    tasks = max((max(row.on_task, row.after_task) for row in rows), default=0)
    accuracy = np.full((len(clients), tasks + 1, tasks), np.nan)
    for row in rows:
        if (row.predictor, row.protocol) == (predictor, protocol):
            place = clients[row.client], row.after_task, row.on_task - 1
            if not np.isnan(accuracy[place]):
                raise UserError(f"accuracy table: every row must be there once, found again {row}")
            accuracy[place] = row.accuracy
    return accuracy


def sort_rows(rows: Sequence[AccuracyRow]) -> list[AccuracyRow]:
    """Return the rows by after_task, client, on_task, predictor and protocol, as declared.

    Clients stand in the order in which ``rows`` first name them.
    """
    clients = _client_numbers(rows)

    def key(row: AccuracyRow) -> tuple[int, ...]:
        sides = PREDICTORS.index(row.predictor), PROTOCOLS.index(row.protocol)
        return row.after_task, clients[row.client], row.on_task, *sides

    return sorted(rows, key=key)


def summarise(rows: Sequence[AccuracyRow]) -> Summary:
    """Return ``{predictor: {protocol: {metric: value}}}``, None where a metric is undefined.

    Spatial retention compares the large side with the small models and stands with ``large``.
    """
    measured = {(row.predictor, row.protocol) for row in rows}
    pairs = [pair for pair in product(PREDICTORS, PROTOCOLS) if pair in measured]
    tensors = {pair: tensor_from_rows(rows, *pair) for pair in pairs}
    summary: Summary = {}
    for (predictor, protocol), accuracy in tensors.items():
        values = {metric.__name__: metric(accuracy) for metric in METRICS}
        local = tensors.get(("small", protocol))
        if predictor == "large" and local is not None:
            values["spatial_retention"] = spatial_retention(accuracy, local)
        summary.setdefault(predictor, {})[protocol] = {
            name: value if math.isfinite(value) else None for name, value in values.items()
        }
    return summary


METRICS = (
    final_accuracy,
    average_incremental_accuracy,
    forgetting,
    backward_transfer,
    forward_transfer,
    temporal_retention,
)


def _client_numbers(rows: Sequence[AccuracyRow]) -> dict[str, int]:
    return {name: k for k, name in enumerate(dict.fromkeys(row.client for row in rows))}


def _mean(values: Accuracy) -> float:
    return float(values.mean()) if values.size else math.nan


def _mean_ratio(numerator: Accuracy, denominator: Accuracy) -> float:
    counted = denominator != 0.0  # NaN counts: what was not measured is not left out silently
    return _mean(numerator[counted] / denominator[counted])
