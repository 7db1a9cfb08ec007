"""A suite from its file to its summary: what is to do, doing it, and writing what it brought."""

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from fedbridge.bench.console import run_suite
from fedbridge.bench.grid import Job, jobs_of
from fedbridge.bench.pages import PAGE, TABLE, write_results
from fedbridge.bench.pool import only_bench
from fedbridge.bench.suite import load_suite
from fedbridge.bench.timing import Durations
from fedbridge.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console


class Bench:
    """A grid of methods, scenarios and seeds; ``only`` is a pattern of SCENARIO--METHOD--SEED.

    Results lie in a folder of the suite's name below ``out``. Raises UserError, naming the suite
    file and the entry, for what is wrong there, and if ``only`` fits no run.
    """

    def __init__(self, suite: str | Path, out: str | Path = "results", only: str = "*") -> None:
        self.suite = Path(suite)
        self.folder = Path(out) / self.suite.stem
        self.every = jobs_of(self.suite, load_suite(self.suite), self.folder)
        self.jobs = [job for job in self.every if fnmatchcase(job.name, only)]
        if not self.jobs:
            raise UserError(f"only: must fit a run such as {self.every[0].name}, found {only!r}")

    @property
    def has_results(self) -> bool:
        """Whether any run of the suite is finished, so that there is something to write."""
        return any(job.state() == "done" for job in self.every)

    def plan(self) -> list[tuple[Job, float | None]]:
        """Return the jobs in the order in which they are run, with the seconds each should take."""
        known = Durations.read(self.folder / TABLE)
        return [(job, known.expected(job)) for job in known.longest_first(self.jobs)]

    def run(
        self, at_once: int | None = None, console: "Console | None" = None
    ) -> list[tuple[Job, str]]:
        """Carry out what is not done yet; return what failed, and why.

        ``at_once`` runs go side by side, as many as there are cores by default; a console is
        shown how far they are. What is interrupted goes on with the next call.
        """
        from rich.console import Console

        shown = console or Console(quiet=True)
        with only_bench(self.folder):
            return run_suite(shown, self.suite, self.jobs, self.folder, at_once or _cores())

    def report(self) -> Path:
        """Write tables, figures and the summary of what is finished; return the latter's path."""
        return write_results(self.folder, self.every)

    def __repr__(self) -> str:
        return f"Bench({str(self.suite)!r}, {len(self.jobs)} runs, {str(self.folder / PAGE)!r})"


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
