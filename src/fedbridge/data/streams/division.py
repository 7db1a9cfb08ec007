"""What any division of a data set must hold, whoever has made it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.data.dataset import Dataset
from fedbridge.data.spec import Division, TaskItems
from fedbridge.data.streams.splits import Indices

PARTS = ("train", "validation", "test")


def require_whole(division: Division, dataset: Dataset, settings: Scenario) -> None:
    """Raise UserError, naming the scenario and the rule, unless a division can be learnt from.

    Clients and slots are as many as the settings say and somebody is there in every slot; rows are
    rows of the data set; each training item is held by one client in one task; every task has a
    training and a test item, and none to test on of a class that the client has not trained on.
    That no group is in two of training, validation, test and public is checked for all scenarios.
    """
    found = next(_faults(division, dataset, settings), None)
    if found is not None:
        raise UserError(f"scenario.kind: {settings.kind}: {found}")


def _faults(division: Division, dataset: Dataset, settings: Scenario) -> Iterator[str]:
    yield from _faults_of_clients(division.clients, settings)
    parts = [("public", division.public)]
    for client, tasks in division.clients.items():
        for slot, task in tasks.items():
            where = f"task {slot} of {client!r}"
            parts += [(f"{part} of {where}", getattr(task, part)) for part in PARTS]
    for where, rows in parts:
        yield from _faults_of_rows(where, rows, len(dataset))
    if not len(division.public):
        yield "the public set must not be empty, found no item"
    for client, tasks in division.clients.items():
        yield from _faults_of_tasks(client, tasks, dataset)
    train = [task.train for tasks in division.clients.values() for task in tasks.values()]
    rows, times = np.unique(np.concatenate(train), return_counts=True)
    if len(twice := rows[times > 1]):
        yield (
            f"each training item must be in one task of one client, found {len(twice)} in several, "
            f"such as {twice[0]}"
        )


def _faults_of_clients(
    clients: Mapping[str, Mapping[int, Any]], settings: Scenario
) -> Iterator[str]:
    if len(clients) != settings.clients:
        yield (
            f"must have as many clients as scenario.clients, {settings.clients}, found "
            f"{len(clients)}"
        )
    for name, tasks in clients.items():
        if not isinstance(name, str) or not name:
            yield f"clients must have names, found {name!r}"
        if not tasks:
            yield f"every client must have a task, found none of {name!r}"
        if list(tasks) != sorted(tasks):
            yield f"tasks must be in the order of their slots, found {list(tasks)} of {name!r}"
    there = {slot for tasks in clients.values() for slot in tasks}
    wanted = set(range(1, settings.slots + 1))
    if there != wanted:
        odd = sorted(there ^ wanted)[0]
        yield (
            f"somebody must have a task in each slot from 1 to scenario.tasks + scenario.repeats = "
            f"{settings.slots}, and nobody in another, found "
            f"{'nobody' if odd in wanted else 'somebody'} in slot {odd}"
        )


def _faults_of_rows(where: str, rows: Indices, count: int) -> Iterator[str]:
    if not isinstance(rows, np.ndarray) or rows.dtype != np.int64 or rows.ndim != 1:
        found = (
            f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        )
        yield f"{where} must be rows, an array int64 (n,), found {found}"
    if len(rows) and not 0 <= rows.min() <= rows.max() < count:
        yield f"{where} must be rows from 0 to {count - 1}, found {rows.min()} to {rows.max()}"
    if len(np.unique(rows)) < len(rows):
        yield f"{where} must name each item once, found {len(rows) - len(np.unique(rows))} again"


def _faults_of_tasks(
    client: str, tasks: Mapping[int, TaskItems], dataset: Dataset
) -> Iterator[str]:
    seen: set[int] = set()
    for slot, task in tasks.items():
        where = f"task {slot} of {client!r}"
        for part in ("train", "test"):
            if not len(getattr(task, part)):
                yield f"{where} must have an item to {part} on, found none"
        seen.update(np.unique(dataset.labels[task.train]).tolist())
        for part in ("validation", "test"):
            labels = set(np.unique(dataset.labels[getattr(task, part)]).tolist())
            if unseen := sorted(labels - seen):
                yield (
                    f"{part} of {where} must be of classes that the client has trained on, found "
                    f"{dataset.classes[unseen[0]]!r}"
                )
