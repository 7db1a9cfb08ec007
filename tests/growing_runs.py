"""Folders of runs as an experiment leaves them, whole or not, for those who look at runs."""

from pathlib import Path
from typing import Any

from fedbridge.core.metrics import PREDICTORS, PROTOCOLS, AccuracyRow, summarise
from fedbridge.methods.files import parse_config
from fedbridge.runs.run import Run

FINALS = {"small": 6, "large": 7, "together": 8}  # of 10, after the last task


def rows_of(tasks: int, total: int, clients: tuple[str, ...], lift: int = 0) -> list[AccuracyRow]:
    """Return the table after some tasks: one more of 10 items is right after every task before."""
    return [
        AccuracyRow(
            client,
            after,
            on,
            predictor,
            protocol,
            min(10, FINALS[predictor] + total - after + lift),
            10,
        )
        for after in range(1, tasks + 1)
        for client in clients
        for on in range(1, after + 1)
        for predictor in PREDICTORS
        for protocol in PROTOCOLS
    ]


def write_run(
    folder: Path,
    done: int = 2,
    tasks: int = 2,
    lift: int = 0,
    clients: tuple[str, ...] = ("a", "b"),
    **settings: Any,
) -> Run:
    """Write a run of one round a task; it is finished when all of its tasks are done."""
    tree = {"scenario": {"tasks": tasks}, "training": {"rounds": 1}, **settings}
    run = Run.create(folder, parse_config(tree, folder.name))
    for task in range(1, done + 1):
        advance(run, task, tasks, lift, clients)
    if done == tasks:
        finish(run, clients, lift)
    return run


def advance(
    run: Run, task: int, tasks: int, lift: int = 0, clients: tuple[str, ...] = ("a", "b")
) -> None:
    """Write what a run writes at the end of a task."""
    run.event("round", task=task, round=1, seconds=2.0, bytes_up=2048, bytes_down=1024)
    run.write_accuracy(rows_of(task, tasks, clients, lift))


def finish(run: Run, clients: tuple[str, ...] = ("a", "b"), lift: int = 0) -> None:
    """Write a run's summary."""
    tasks = run.config.scenario.tasks
    run.write_summary(
        {
            "method": run.config.name,
            "seed": run.config.seed,
            "clients": list(clients),
            "tasks": tasks,
            "models": dict.fromkeys(clients, "cnn"),
            "results": summarise(rows_of(tasks, tasks, clients, lift)),
            "bytes_up": 2048 * tasks,
            "bytes_down": 1024 * tasks,
            "seconds": {"learn": 60.0, "fuse": 40.0},
        }
    )
