"""What finished runs have brought, grouped by scenario and method."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedbridge.bench.grid import Job
from fedbridge.bench.suite import SuiteMethod
from fedbridge.core.metrics import PROTOCOLS, Summary, summarise
from fedbridge.report.run.figures import curves_of
from fedbridge.report.run.folder import Measures, OwnMetric, RunRecord, read_run
from fedbridge.report.run.folder import Summary as Costs
from fedbridge.report.run.series import Curve

MAIN = PROTOCOLS[0]
Finals = Mapping[tuple[int, str], float]
"""Final accuracy by (seed, client)."""


@dataclass(frozen=True)
class Outcome:
    """One finished run."""

    job: Job
    metrics: Summary
    clients: dict[tuple[str, str], dict[str, float]]
    """For each (predictor, protocol) the final accuracy of every client."""
    curves: dict[str, Curve]
    """For each predictor its accuracy on all tasks so far."""
    costs: Costs

    @property
    def seconds(self) -> float:
        """Return the seconds of all phases."""
        return round(sum(self.costs.seconds.values()), 1)

    def metric(self, name: str, predictor: str, protocol: str = MAIN) -> float | None:
        """Return one metric, None where it is undefined; of one's own what the run has kept."""
        if name in self.own:
            return self.costs.results.get(predictor, {}).get(protocol, Measures()).value(name)
        return self.metrics.get(predictor, {}).get(protocol, {}).get(name)

    @property
    def own(self) -> dict[str, OwnMetric]:
        """Return the run's own metrics by name."""
        return self.costs.metrics


@dataclass(frozen=True)
class MethodRuns:
    """A method's finished runs on one scenario, by seed, out of so many."""

    method: SuiteMethod
    outcomes: tuple[Outcome, ...]
    wanted: int

    @property
    def name(self) -> str:
        """Return the method's name."""
        return self.method.name

    @property
    def complete(self) -> bool:
        """Return whether all its runs are finished."""
        return len(self.outcomes) == self.wanted

    @property
    def history(self) -> str:
        """Return which data its clients trained on; other than ``task`` makes a bound."""
        return self.outcomes[0].job.config.scenario.history

    def metric(self, name: str, predictor: str, protocol: str = MAIN) -> list[float | None]:
        """Return one metric of every seed."""
        return [outcome.metric(name, predictor, protocol) for outcome in self.outcomes]

    def mean(self, name: str, predictor: str) -> float | None:
        """Return a metric's mean over seeds, None if it is undefined for one of them."""
        found = [value for value in self.metric(name, predictor) if value is not None]
        return statistics.mean(found) if found and len(found) == len(self.outcomes) else None

    def finals(self, predictor: str) -> Finals:
        """Return the class-incremental final accuracies that others are paired with."""
        return {
            (outcome.job.seed, client): value
            for outcome in self.outcomes
            for client, value in outcome.clients.get((predictor, MAIN), {}).items()
        }


Grid = dict[str, list[MethodRuns]]
"""The methods of every scenario that have a finished run, in the suite's order."""


def collect(jobs: Sequence[Job]) -> list[Outcome]:
    """Read all runs that are done with the suite's settings; others do not count."""
    return [outcome_of(job) for job in jobs if job.state() == "done"]


def outcome_of(job: Job) -> Outcome:
    """Read one finished run; raise UserError if a file in its folder is damaged."""
    run = read_run(job.folder)
    assert run.summary is not None  # it is done
    return Outcome(
        job=job,
        metrics=summarise(run.scores),
        clients=_clients(run),
        curves=curves_of(run, MAIN),
        costs=run.summary,
    )


def own_metrics_of(outcomes: Iterable[Outcome]) -> dict[str, OwnMetric]:
    """Return the runs' own metrics by name, each as the first run that has it describes it."""
    found: dict[str, OwnMetric] = {}
    for outcome in outcomes:
        for name, metric in outcome.own.items():
            found.setdefault(name, metric)
    return found


def grouped(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> Grid:
    """Group the outcomes; methods of which nothing is finished are left out."""
    found = {outcome.job.name: outcome for outcome in outcomes}
    grid: dict[str, dict[str, list[Job]]] = {}
    for job in jobs:
        grid.setdefault(job.scenario.name, {}).setdefault(job.method.name, []).append(job)
    return {
        scenario: [
            MethodRuns(alike[0].method, done, len(alike))
            for alike in methods.values()
            if (done := tuple(found[job.name] for job in alike if job.name in found))
        ]
        for scenario, methods in grid.items()
    }


def _clients(run: RunRecord) -> dict[tuple[str, str], dict[str, float]]:
    clients: dict[tuple[str, str], dict[str, float]] = {}
    for name in run.clients:
        own = summarise([row for row in run.scores if row.client == name])
        for predictor, protocols in own.items():
            for protocol, metrics in protocols.items():
                if (final := metrics["final_accuracy"]) is not None:
                    clients.setdefault((predictor, protocol), {})[name] = final
    return clients
