"""Everything that is written about a suite, from the runs that are finished."""

from collections.abc import Sequence
from pathlib import Path

from fedbridge.bench.figures import draw_bars, draw_tasks
from fedbridge.bench.grid import Job
from fedbridge.bench.outcome import MethodRuns, collect, grouped
from fedbridge.bench.pool import failure_of
from fedbridge.bench.summary import FIGURES, figure_name, summary
from fedbridge.bench.tables import write_clients, write_table
from fedbridge.core.errors import UserError
from fedbridge.core.files import write_text
from fedbridge.core.metrics import PREDICTORS

TABLE = "table.csv"
CLIENTS = "clients.csv"
PAGE = "summary.md"


def write_results(results: Path, jobs: Sequence[Job]) -> Path:
    """Write tables, figures and ``summary.md`` of a suite's finished runs; return the latter.

    It names the runs that failed, and why. The same runs give the same files. Raises UserError if
    none is finished.
    """
    outcomes = collect(jobs)
    if not outcomes:
        raise UserError(f"{results}: no run of this suite is finished; there is nothing to report")
    grid = grouped(jobs, outcomes)
    write_table(results / TABLE, outcomes)
    write_clients(results / CLIENTS, outcomes)
    for scenario, groups in grid.items():
        _draw(results, scenario, groups)
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    failed = {job.name: reason for job in jobs if (reason := failure_of(job))}
    text = summary(results.name, grid, seeds, len(jobs), failed)
    write_text(results / PAGE, text)
    return results / PAGE


def _draw(results: Path, scenario: str, groups: Sequence[MethodRuns]) -> None:
    accuracy, forgetting, tasks = (results / figure_name(scenario, kind) for kind in FIGURES)
    if not groups:  # nor shall former figures tell of runs that do not count
        for path in (accuracy, forgetting, tasks):
            path.unlink(missing_ok=True)
        return
    draw_bars(accuracy, groups, "final_accuracy", PREDICTORS)
    draw_bars(forgetting, groups, "forgetting", ("small", "together"))
    draw_tasks(tasks, groups)
