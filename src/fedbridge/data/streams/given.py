"""Streams that the data themselves state: every item in the task that its column or folder says."""

from dataclasses import dataclass

import numpy as np

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.data.dataset import Dataset
from fedbridge.data.spec import Division, TaskItems
from fedbridge.data.streams.dealing import CellAssignment, Holding, dirichlet_partition
from fedbridge.data.streams.splits import PUBLIC, TEST, TRAIN, VALIDATION, Indices, official_test

TOLD = 10  # tasks that an error names at most


@dataclass(frozen=True, eq=False)
class _Layout:
    """Items of one class in one task of one pool of clients form a cell."""

    of_item: Indices  # (N,)
    group: Indices  # (N,), numbered in random order
    classes: int
    """How many, hence cells of a task of a pool."""
    tasks: int


@dataclass(frozen=True, eq=False)
class _Dealt:
    """What each client has of each cell, and what is tested of it."""

    train: Holding
    validation: Holding
    test: dict[int, Indices]


def as_stated(dataset: Dataset, settings: Scenario, seed: int) -> Division:
    """Return who holds what when, as the data say; each item is used once or public.

    With clients as domains a client has its domain's items, else clients share those of a task by
    Dirichlet shares. Equal items are on one side. Every class of a task has a training item, and
    every task a test item; where the data say what is tested, that is the test. Raises UserError,
    naming the field, where the data state no tasks, other numbers of them or of clients, or too
    little for a test.
    """
    alone = settings.clients_are == "domains"
    layout = _lay_out(dataset, settings, seed)
    names = [
        dataset.domain_names[number] if alone else f"client-{number + 1}"
        for number in range(settings.clients)
    ]
    side = _sides(layout, settings, seed, _tested(dataset, layout))[layout.group]
    pool_size = layout.tasks * layout.classes
    clients = {
        cell: [cell // pool_size] if alone else list(range(len(names)))
        for cell in np.unique(layout.of_item).tolist()
    }
    dealt = _deal(side, layout, clients, settings.alpha, seed)
    shares: dict[str, dict[int, TaskItems]] = {name: {} for name in names}
    for client, name in enumerate(names):
        for task in range(layout.tasks):
            first = client * alone * pool_size + task * layout.classes
            cells = [cell for cell in range(first, first + layout.classes) if cell in clients]
            share = _share(client, cells, dealt, dataset.task_names[task])
            if len(share.train):
                shares[name][task + 1] = share
    _check_shares(dataset, shares)
    return Division(np.flatnonzero(side == PUBLIC), shares)


def _lay_out(dataset: Dataset, settings: Scenario, seed: int) -> _Layout:
    if dataset.tasks is None:
        raise UserError(
            f"scenario.kind: 'given' needs data that say which task an item is of (data.own.task, "
            f"data.own.date or data.own.layout, or tasks of from_arrays), found {dataset.name!r} "
            f"without"
        )
    alone = settings.clients_are == "domains"
    wanted = {"tasks": (settings.tasks, "tasks", dataset.task_names)}
    if alone:
        wanted["clients"] = (settings.clients, "domains", dataset.domain_names)
    faults = [
        f"scenario.{field}: must be {len(known)}, since {dataset.name} has the {what} "
        f"{', '.join(known)}; found {found}"
        for field, (found, what, known) in wanted.items()
        if found != len(known)
    ]
    if faults:
        raise UserError(". ".join(faults))
    _, group = np.unique(dataset.groups, return_inverse=True)
    rank = rng_for(seed, "scenario", "groups").permutation(int(group.max()) + 1)[group]
    classes, tasks = len(dataset.classes), len(dataset.task_names)
    place = dataset.domains * alone * tasks + dataset.tasks
    return _Layout(place * classes + dataset.labels, rank, classes, tasks)


def _tested(dataset: Dataset, layout: _Layout) -> Indices | None:
    """Return the groups that the data say are the test; None where they do not say it."""
    if dataset.split is None:
        return None
    return official_test(dataset, dataset.split, layout.group)


def _sides(layout: _Layout, settings: Scenario, seed: int, tested: Indices | None) -> Indices:
    """Return the side of each group: in every cell the fractions that are asked for, to an item."""
    total = int(layout.group.max()) + 1
    stratum = np.zeros(total, np.int64)
    stratum[layout.group[::-1]] = layout.of_item[::-1]  # a group is of its first item's cell
    if tested is not None:
        stratum[tested] = -1  # they are not divided
    order = np.lexsort((np.arange(total), stratum))
    _, start, count = np.unique(stratum[order], return_index=True, return_counts=True)
    # evenly spaced from a random place: small cells lose no more to a side than their fraction
    offset = rng_for(seed, "scenario", "sides").random(len(count))
    place = np.arange(total) - np.repeat(start - offset, count)
    test = settings.test if tested is None else 0.0
    held = test + settings.public
    limits = [test, held, held + (1 - held) * settings.validation]
    kinds = np.array([TEST, PUBLIC, VALIDATION, TRAIN])
    part = np.zeros(total, np.int64)
    part[order] = kinds[np.searchsorted(limits, place / np.repeat(count, count), side="right")]
    if tested is not None:
        part[tested] = TEST
    _limit_public(part, layout, settings.public_per_class)
    _have_each_cell_trained(part, layout, tested)
    if tested is None:
        _have_each_task_tested(part, layout)
    return part


def _limit_public(part: Indices, layout: _Layout, per_class: int) -> None:
    """Return to training the items of a class beyond what the public set takes."""
    rows = np.flatnonzero(part[layout.group] == PUBLIC)
    rows = rows[np.argsort(layout.group[rows], kind="stable")]
    for label in range(layout.classes):
        of_class = rows[layout.of_item[rows] % layout.classes == label]
        part[layout.group[of_class[per_class:]]] = TRAIN


def _have_each_cell_trained(part: Indices, layout: _Layout, tested: Indices | None) -> None:
    """Move a group to training where a cell has none; what the data test stays tested."""
    trained = layout.of_item[part[layout.group] == TRAIN]
    for cell in np.setdiff1d(layout.of_item, trained).tolist():
        groups = layout.group[layout.of_item == cell]
        if tested is not None:
            groups = np.setdiff1d(groups, tested)
        if len(groups):
            part[groups.max()] = TRAIN


def _have_each_task_tested(part: Indices, layout: _Layout) -> None:
    """Move a group to the test where a task has none, unless a class would not be trained."""
    task = layout.of_item // layout.classes
    tested = task[part[layout.group] == TEST]
    for lacking in np.setdiff1d(task, tested).tolist():
        groups = np.unique(layout.group[task == lacking])
        spare = [g for g in groups.tolist() if _is_spare(g, part, layout)]
        if spare:
            part[min(spare, key=lambda group: (part[group] == TRAIN, group))] = TEST


def _is_spare(group: int, part: Indices, layout: _Layout) -> bool:
    """Return whether all cells of a group have others to train on."""
    cells = np.unique(layout.of_item[layout.group == group])
    others = (part[layout.group] == TRAIN) & (layout.group != group)
    return bool(np.isin(cells, layout.of_item[others]).all())


def _deal(
    side: Indices, layout: _Layout, clients: dict[int, list[int]], alpha: float, seed: int
) -> _Dealt:
    board = CellAssignment(layout.of_item, layout.classes, clients, np.zeros(0, np.int64))
    train, validation, test = (np.flatnonzero(side == s) for s in (TRAIN, VALIDATION, TEST))
    return _Dealt(
        dirichlet_partition(train, board, alpha, seed, "train"),
        dirichlet_partition(validation, board, alpha, seed, "validation"),
        {cell: test[layout.of_item[test] == cell] for cell in clients},
    )


def _share(client: int, cells: list[int], dealt: _Dealt, name: str) -> TaskItems:
    """Return a client's part of a task; a class that it does not train on it does not test."""
    train, validation, test = [], [], []
    for cell in cells:
        own, held = dealt.train[client, cell], dealt.validation[client, cell]
        if not len(own):  # a class must be trained on before it is held back
            own, held = held, own
        train.append(own)
        validation.append(held)
        test.append(dealt.test[cell] if len(own) else held)
    return TaskItems(_joined(train), _joined(validation), _joined(test), name)


def _joined(parts: list[Indices]) -> Indices:
    return np.sort(np.concatenate([*parts, np.zeros(0, np.int64)]))


def _check_shares(dataset: Dataset, shares: dict[str, dict[int, TaskItems]]) -> None:
    idle = [client for client, tasks in shares.items() if not tasks]
    if idle:
        raise UserError(
            f"scenario.clients: every client must have items to train on, found none for "
            f"{', '.join(idle)}; fewer clients or a larger scenario.alpha help"
        )
    lacking = [
        f"{dataset.task_names[slot - 1]} of {client} ({len(share.train)} to train on)"
        for client, tasks in shares.items()
        for slot, share in tasks.items()
        if not len(share.test)
    ]
    if lacking:
        more = ", ..." if len(lacking) > TOLD else ""
        raise UserError(
            f"scenario: every task of a client must have a test item besides one of each class to "
            f"train on, found none in {', '.join(lacking[:TOLD])}{more}; longer periods, fewer "
            f"clients or leaving those items out help"
        )
