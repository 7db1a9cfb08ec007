"""Pure arithmetic on accuracies: one definition of each metric, and no other.

``accuracy`` holds a matrix for each client, ``(T + 1, T)`` with the client's own number of tasks
T: entry ``[i, j - 1]`` is its accuracy after its task i (0: before any training) on the test
data of its task j, NaN where it was not measured. Entries with ``j <= i`` are over the classes
seen through task i, or over the task's own where the task is given; ``[j - 1, j - 1]`` and
``[0, j - 1]``, one task ahead and before any training, are over the classes the client will
have seen by task j.

Every metric is a mean over clients of what it is for one client, in which all its tasks count
alike. Forgetting and both transfers are undefined for a client with one task: it is left out,
and where no client has more, the metric is NaN. It is NaN too if it needs an entry that was not
measured.

The definitions ask for nothing but the order of tasks. With domain-incremental tasks, "the
classes seen" are the same ones throughout. A repeated task is a task of its own with the test
items of its first visit: what is kept from there counts as its forward transfer, and as recovery
in the backward transfer of the first visit.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.errors import UserError

Matrix = NDArray[np.float64]  # (T + 1, T)
Accuracy = Sequence[Matrix]
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
    return _mean_over_clients(a[-1] for a in accuracy)


def average_incremental_accuracy(accuracy: Accuracy) -> float:
    """Return the mean over i of the mean over ``j <= i`` of ``A[i, j]``."""
    return _mean_over_clients(
        np.array([a[i, :i].mean() for i in range(1, len(a))]) for a in accuracy
    )


def forgetting(accuracy: Accuracy) -> float:
    """Return the mean over ``j < T`` of ``max(A[i, j] for j <= i < T) - A[T, j]``.

    The last task cannot have been forgotten yet and does not count.
    """
    # row 0 is the untrained model; a[j:-1] are the rows from task j to the last but one
    return _mean_over_clients(
        np.array([a[j:-1, j - 1].max() - a[-1, j - 1] for j in range(1, len(a) - 1)])
        for a in accuracy
    )


def backward_transfer(accuracy: Accuracy) -> float:
    """Return the mean over ``j < T`` of ``A[T, j] - A[j, j]``."""
    return _mean_over_clients((a[-1] - np.diagonal(a, -1))[:-1] for a in accuracy)


def forward_transfer(accuracy: Accuracy) -> float:
    """Return the mean over ``j > 1`` of ``A[j - 1, j] - b_j``, with ``b_j = A[0, j]``."""
    return _mean_over_clients((np.diagonal(a) - a[0])[1:] for a in accuracy)


def temporal_retention(accuracy: Accuracy) -> float:
    """Return the mean over clients of ``A[T, 1] / A[1, 1]`` (KR_t of arXiv 2312.16475)."""
    return _mean_ratio([a[-1, 0] for a in accuracy], [a[1, 0] for a in accuracy])


def spatial_retention(server: Accuracy, local: Accuracy) -> float:
    """Return the mean over clients of server ``A[T, T]`` / local ``A[T, T]``.

    KR_s of arXiv 2312.16475; the server's model is the large side, the local one the small
    model. A client whose denominator is zero is left out, as in ``temporal_retention``.
    """
    return _mean_ratio([a[-1, -1] for a in server], [a[-1, -1] for a in local])


def matrices_from_rows(rows: Sequence[AccuracyRow], predictor: str, protocol: str) -> list[Matrix]:
    """Return one predictor's matrices; clients stand in the order in which ``rows`` name them.

    Clients and their numbers of tasks are taken from all rows, so that the matrices of one run
    are aligned. Raises UserError if a measurement occurs twice.
    """
    tasks: dict[str, int] = {}
    for row in rows:
        tasks[row.client] = max(row.on_task, row.after_task, tasks.get(row.client, 0))
    matrices = {client: np.full((count + 1, count), np.nan) for client, count in tasks.items()}
    for row in rows:
        if (row.predictor, row.protocol) == (predictor, protocol):
            matrix, place = matrices[row.client], (row.after_task, row.on_task - 1)
            if not np.isnan(matrix[place]):
                raise UserError(f"accuracy table: every row must be there once, found again {row}")
            matrix[place] = row.accuracy
    return list(matrices.values())


def sort_rows(rows: Sequence[AccuracyRow]) -> list[AccuracyRow]:
    """Return the rows by after_task, client, on_task, predictor and protocol, as declared.

    Clients stand in the order in which ``rows`` first name them.
    """
    clients = _client_numbers(rows)

    def key(row: AccuracyRow) -> tuple[int, ...]:
        sides = PREDICTORS.index(row.predictor), PROTOCOLS.index(row.protocol)
        return row.after_task, clients[row.client], row.on_task, *sides

    return sorted(rows, key=key)


def so_far(rows: Sequence[AccuracyRow]) -> list[AccuracyRow]:
    """Return the rows of an unfinished run as if each client's newest task were its last.

    So the metrics are of the tasks learnt so far: what was measured one task ahead is left out.
    """
    newest: dict[str, int] = {}
    for row in rows:
        newest[row.client] = max(row.after_task, newest.get(row.client, 0))
    return [row for row in rows if row.on_task <= newest[row.client]]


@dataclass(frozen=True)
class AccuracyTable:
    """All measurements of a run, of which a metric is asked for one predictor and protocol."""

    rows: Sequence[AccuracyRow]
    """Of every client, predictor and protocol."""
    predictor: str
    protocol: str

    @cached_property
    def accuracy(self) -> list[Matrix]:
        """Return the predictor's matrices, one for each client."""
        return self.of(self.predictor)

    def of(self, predictor: str) -> list[Matrix]:
        """Return the matrices of another predictor under the same protocol."""
        return matrices_from_rows(self.rows, predictor, self.protocol)


@dataclass(frozen=True)
class Metric:
    """A number that is made of a run's accuracies alone: a fraction, shown in percent.

    ``measure`` gets the table and returns the number; NaN where it is not defined.
    """

    measure: Callable[[AccuracyTable], float]
    title: str
    """What tables call it."""
    summary: str
    """What it is, in a line."""
    better: Literal["higher", "lower"] = "higher"
    signed: bool = False
    """Whether its sign is shown."""
    predictors: tuple[str, ...] = PREDICTORS
    """Whose number it is; a comparison shows that of the first."""
    beside: tuple[str, ...] = ()
    """Predictors that must have been measured too."""

    def __post_init__(self) -> None:
        """Raise ValueError if a field is not as it must be."""
        if not callable(self.measure):
            raise ValueError(f"measure must be a function, found {type(self.measure).__name__}")
        if self.better not in ("higher", "lower"):
            raise ValueError(f"better must be 'higher' or 'lower', found {self.better!r}")
        unknown = set(self.predictors) | set(self.beside)
        if not self.predictors or unknown - set(PREDICTORS):
            raise ValueError(f"predictors must be of {PREDICTORS}, found {self.predictors}")


METRICS: dict[str, Metric] = {
    "final_accuracy": Metric(
        lambda table: final_accuracy(table.accuracy),
        "final accuracy",
        "accuracy on all tasks at the end",
    ),
    "average_incremental_accuracy": Metric(
        lambda table: average_incremental_accuracy(table.accuracy),
        "average incremental",
        "accuracy on all tasks so far, after every task",
    ),
    "forgetting": Metric(
        lambda table: forgetting(table.accuracy),
        "forgetting",
        "how far tasks lie at the end below their best before",
        better="lower",
    ),
    "backward_transfer": Metric(
        lambda table: backward_transfer(table.accuracy),
        "backward transfer",
        "what later tasks did to earlier ones",
        signed=True,
    ),
    "forward_transfer": Metric(
        lambda table: forward_transfer(table.accuracy),
        "forward transfer",
        "what earlier tasks did for later ones before these were learnt",
        signed=True,
    ),
    "temporal_retention": Metric(
        lambda table: temporal_retention(table.accuracy),
        "KR_t",
        "what is still known of the first task at the end",
    ),
    "spatial_retention": Metric(
        lambda table: spatial_retention(table.accuracy, table.of("small")),
        "KR_s",
        "what the large side knows of what the small models know of the newest task",
        predictors=("large",),
        beside=("small",),
    ),
}


def summarise(rows: Sequence[AccuracyRow], metrics: Mapping[str, Metric] | None = None) -> Summary:
    """Return ``{predictor: {protocol: {metric: value}}}``, None where a metric is undefined.

    The ``metrics`` are ours by default. Spatial retention compares the large side with the small
    models and stands with ``large``.
    """
    measured = {(row.predictor, row.protocol) for row in rows}
    summary: Summary = {}
    for predictor, protocol in product(PREDICTORS, PROTOCOLS):
        if (predictor, protocol) not in measured:
            continue
        table = AccuracyTable(rows, predictor, protocol)
        values = {
            name: metric.measure(table)
            for name, metric in (METRICS if metrics is None else metrics).items()
            if predictor in metric.predictors
            and all((other, protocol) in measured for other in metric.beside)
        }
        summary.setdefault(predictor, {})[protocol] = {
            name: value if math.isfinite(value) else None for name, value in values.items()
        }
    return summary


def _client_numbers(rows: Sequence[AccuracyRow]) -> dict[str, int]:
    return {name: k for k, name in enumerate(dict.fromkeys(row.client for row in rows))}


def _mean_over_clients(terms: Iterable[Matrix]) -> float:
    """Return the mean over clients of the mean of each one's terms, of those that have any."""
    means = [of_client.mean() for of_client in terms if of_client.size]
    return float(np.mean(means)) if means else math.nan


def _mean_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    # NaN is counted: what was not measured is not left out silently
    ratios = [n / d for n, d in zip(numerators, denominators, strict=True) if d != 0.0]
    return float(np.mean(ratios)) if ratios else math.nan
