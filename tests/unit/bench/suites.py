"""What the bench's tests share: a config, a suite on it, and runs that look finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedbridge.bench.grid import Job, jobs_of
from fedbridge.bench.outcome import Grid, collect, grouped
from fedbridge.bench.suite import load_suite
from fedbridge.core.metrics import PREDICTORS, PROTOCOLS, AccuracyRow, summarise
from fedbridge.runs.run import Run

CLIENTS = ("a", "b")
BASE = """
[scenario]
clients = 2
tasks = 2
[small]
models = ["mlp"]
[learner]
name = "smcf"
memory = 7
"""
SUITE = """
seeds = [1, 2, 3]
[[scenario]]
name = "first"
config = "base.toml"
[[method]]
name = "bridge"
role = "ours"
[[method]]
name = "plain"
role = "baseline"
set = ["learner.name=finetune"]
"""
ENDS = "import pathlib, sys; pathlib.Path(sys.argv[1], 'summary.json').write_text('{}')"
Finals = Mapping[str, Sequence[int]]
"""For each predictor the percentage of every client; for ``lost`` how much task 1 has lost."""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def method(name: str, role: str = "", rest: str = "") -> str:
    """Return a method's entry in a suite file."""
    role = f'role = "{role}"\n' if role else ""
    return f'[[method]]\nname = "{name}"\n{role}{rest}\n'


def climbing(**first: Sequence[int]) -> list[dict[str, list[int]]]:
    """Return the finals of three seeds, each a point above the one before; losses stay."""
    return [
        {p: [v + (0 if p == "lost" else seed) for v in values] for p, values in first.items()}
        for seed in range(3)
    ]


@dataclass(frozen=True)
class Bench:
    """A suite file and where its results lie."""

    path: Path
    results: Path

    def jobs(self) -> list[Job]:
        return jobs_of(self.path, load_suite(self.path), self.results)

    def finish(self, method: str, *seeds: Finals, scenario: str = "first") -> None:
        """Have the runs of a method end with these accuracies, seed by seed."""
        jobs = [j for j in self.jobs() if (j.scenario.name, j.method.name) == (scenario, method)]
        for job, finals in zip(jobs, seeds, strict=False):
            finish(job, finals)

    def grid(self) -> Grid:
        jobs = self.jobs()
        return grouped(jobs, collect(jobs))


def finish(job: Job, finals: Finals, seconds: float = 30.0) -> None:
    """Write a run's folder as if it had ended with these accuracies."""
    run = Run.create(job.folder, job.config)
    rows = rows_of(finals)
    run.write_accuracy(rows)
    run.write_summary(
        {
            "method": job.config.name,
            "seed": job.seed,
            "clients": list(CLIENTS),
            "tasks": 2,
            "models": dict.fromkeys(CLIENTS, "mlp"),
            "results": summarise(rows),
            "bytes_up": 3_000_000,
            "bytes_down": 1_500_000,
            "seconds": {"learn": seconds - 10.0, "fuse": 10.0},
            "peak_memory_mib": 100.5,
        }
    )


def rows_of(finals: Finals) -> list[AccuracyRow]:
    """Two tasks of 100 items: both end at the final value, the first one was 10 % (lost) above.

    Before any training it was 10 %, and the second task was at 15 % one task ahead. With the
    task given, 5 more are right.
    """
    rows = []
    for k, client in enumerate(CLIENTS):
        for predictor in PREDICTORS:
            final = finals.get(predictor, finals["small"])[k]
            first = final + finals.get("lost", (10, 10))[k]
            measured = {(0, 1): 10, (0, 2): 10, (1, 1): first, (1, 2): 15}
            measured |= {(2, 1): final, (2, 2): final}
            rows += [
                AccuracyRow(client, after, on, predictor, protocol, right + 5 * step, 100)
                for (after, on), right in measured.items()
                for step, protocol in enumerate(PROTOCOLS)
            ]
    return rows
