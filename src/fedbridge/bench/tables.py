"""The results of a suite as CSV: every run, and every client of every run."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fedbridge.bench.outcome import Outcome, own_metrics_of
from fedbridge.core.files import writing, written
from fedbridge.core.metrics import METRICS, PREDICTORS, PROTOCOLS

COSTS = ("bytes_up", "bytes_down", "seconds", "peak_memory_mib")
PLACE = ("scenario", "method", "seed")
Cells = tuple[object, ...]


def write_table(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write one row per scenario, method, seed, predictor and protocol; undefined is empty."""
    names = (*METRICS, *own_metrics_of(outcomes))
    _write(path, (*PLACE, "predictor", "protocol", *names, *COSTS), _rows(outcomes, names))


def write_clients(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write every client's final accuracies, which tests of significance are paired over."""
    header = (*PLACE, "client", "predictor", "protocol", "final_accuracy")
    _write(path, header, _client_rows(outcomes))


def _rows(outcomes: Sequence[Outcome], names: Sequence[str]) -> Iterator[Cells]:
    for outcome in outcomes:
        costs = outcome.costs
        spent = (costs.bytes_up, costs.bytes_down, outcome.seconds, costs.peak_memory_mib)
        for predictor in PREDICTORS:
            for protocol in PROTOCOLS:
                if protocol in outcome.metrics.get(predictor, {}):
                    values = [outcome.metric(name, predictor, protocol) for name in names]
                    yield (*_place(outcome), predictor, protocol, *values, *spent)


def _client_rows(outcomes: Sequence[Outcome]) -> Iterator[Cells]:
    for outcome in outcomes:
        for (predictor, protocol), finals in outcome.clients.items():
            for client, value in finals.items():
                yield (*_place(outcome), client, predictor, protocol, value)


def _place(outcome: Outcome) -> Cells:
    return outcome.job.scenario.name, outcome.job.method.name, outcome.job.seed


def _write(path: Path, header: Sequence[str], rows: Iterable[Cells]) -> None:
    with writing(path), written(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(header)
        lines.writerows(rows)
