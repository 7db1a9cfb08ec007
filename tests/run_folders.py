"""Small, deterministic run folders, written through the same door as a real run's."""

from pathlib import Path
from typing import Any

from fedbridge.core.metrics import PREDICTORS, PROTOCOLS, AccuracyRow, summarise
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.runs.run import Run

LESSONS = (  # student, teacher, weight
    ("a", "b", 0.2),
    ("a", "a@task-1", 0.9),
    ("b", "a", 0.4),
)


def rows_of(clients: tuple[str, ...], tasks: int) -> list[AccuracyRow]:
    """Ten test items a task: ``small`` starts at 8 of 10 and loses 2 with every later task."""
    start = {"small": 8, "large": 6, "together": 9}
    loss = {"small": 2, "large": 0, "together": 1}
    rows = []
    for k, client in enumerate(clients):
        for after in range(tasks + 1):
            # before any training every task is measured, later on one task ahead
            for on in range(1, (min(after + 1, tasks) if after else tasks) + 1):
                for p in PREDICTORS:
                    right = start[p] - loss[p] * (after - on) - k if on <= after else 1
                    rows += [
                        AccuracyRow(client, after, on, p, protocol, max(0, right) + step, 10)
                        for step, protocol in enumerate(PROTOCOLS)
                    ]
    return rows


def measures(final: float) -> dict[str, float | None]:
    return {
        "final_accuracy": final,
        "average_incremental_accuracy": 0.5,
        "forgetting": 0.25,
        "backward_transfer": -0.125,
        "forward_transfer": None,
    }


def write_events(run: Run, clients: tuple[str, ...], tasks: int) -> None:
    names = dict(zip("ab", clients, strict=False))
    for task in range(1, tasks + 1):
        place = {"task": task, "round": 1}
        run.event("round", **place, seconds=2.0, bytes_up=2048, bytes_down=1024)
        for student, teacher, weight in LESSONS if task > 1 and len(clients) > 1 else ():
            who, *snapshot = teacher.split("@")
            run.event(
                "taught",
                **place,
                student=names[student],
                teacher="@".join([names[who], *snapshot]),
                weight=weight,
                agreement=0.5,
            )
    run.event("warning", message=f"{clients[0]} holds few items")
    run.event("warning", message=f"{clients[0]} holds few items")


def summary_of(
    config: Config, clients: tuple[str, ...], rows: list[AccuracyRow], finals: Any
) -> dict[str, Any]:
    results: Any = summarise(rows)
    if finals:
        results = {p: {q: measures(v) for q in PROTOCOLS} for p, v in finals.items()}
    return {
        "method": config.name,
        "seed": config.seed,
        "clients": list(clients),
        "tasks": config.scenario.tasks,
        "models": {client: "cnn" for client in clients},
        "results": results,
        "temporal_retention": 0.75,
        "spatial_retention": None,
        "bytes_up": 6144,
        "bytes_down": 3072,
        "seconds": {"learn": 200.0, "fuse": 4.25},
        "peak_memory_mib": 12.5,
    }


def write_run(
    folder: Path,
    clients: tuple[str, ...] = ("a", "b"),
    tasks: int = 3,
    finished: bool = True,
    finals: dict[str, float] | None = None,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write a run folder; ``finals`` replaces the computed results."""
    config = parse_config({"scenario": {"tasks": tasks}} | (settings or {}), folder.name)
    run = Run.create(folder, config)
    rows = rows_of(clients, tasks)
    run.write_accuracy(rows)
    write_events(run, clients, tasks)
    if finished:
        run.write_summary(summary_of(config, clients, rows, finals))
    return run.folder
