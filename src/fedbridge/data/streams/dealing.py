"""Items dealt out: to the clients of every cell, to their tasks, and across blurred borders.

Established partition libraries do not do it. ``DirichletPartitioner`` of Flower Datasets 0.6 and
``hetero_dir_partition`` of FedLab 1.3 divide all classes between the same clients and draw again
until no client is too small as a whole. Here every cell has clients of its own, a least share for
each of them, and each of its items is dealt out exactly once. (The first is also pinned to an
older rich; the second needs torchvision and NumPy's global random state.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedbridge.config import Scenario
from fedbridge.core.rng import rng_for
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.plans import Cells, Plan, has_domains, width_of
from fedbridge.data.streams.splits import Indices, Split

Holding = dict[tuple[int, int], Indices]  # what a client (first) holds of a cell (second)


@dataclass(frozen=True, eq=False)
class CellAssignment:
    """Which cell every item is of, and which clients draw from every cell."""

    of_item: Indices
    """The cell of each item, ``(N,)``."""
    width: int
    """Cells of a class."""
    clients: dict[int, list[int]]
    """The clients of each cell that anyone draws from, in their own order."""
    need: Indices
    """How many those are, ``(cells,)``."""


@dataclass(frozen=True, eq=False)
class ClientHoldings:
    """What every client holds of every cell of its plan."""

    train: Holding
    validation: Holding
    test: Holding


def lay_out(dataset: Dataset, settings: Scenario, plans: Sequence[Plan]) -> CellAssignment:
    """Return the cells of a data set and who draws from them."""
    width = width_of(dataset, settings)
    clients: dict[int, list[int]] = {}
    for client, plan in enumerate(plans):
        for cell in plan.cells:
            clients.setdefault(cell, []).append(client)
    need = np.zeros(len(dataset.classes) * width, dtype=np.int64)
    for cell, drawing in clients.items():
        need[cell] = len(drawing)
    domains = dataset.domains if has_domains(settings) else 0
    return CellAssignment(dataset.labels * width + domains, width, clients, need)


def allocate(
    split: Split, board: CellAssignment, settings: Scenario, plans: Sequence[Plan], seed: int
) -> ClientHoldings:
    """Deal training and validation items out; clients that share a cell share its test items."""
    train = dirichlet_partition(split.train, board, settings.alpha, seed, "train")
    return ClientHoldings(
        train={
            (client, cell): _kept(items[: settings.train_per_class], plans[client].data_fraction)
            for (client, cell), items in train.items()
        },
        validation=dirichlet_partition(split.validation, board, settings.alpha, seed, "validation"),
        test={
            (client, cell): items
            for cell, clients in board.clients.items()
            for items in [_tested(split.test, cell, board, settings.test_per_class, seed)]
            for client in clients
        },
    )


def dirichlet_partition(
    items: Indices, board: CellAssignment, alpha: float, seed: int, part: str
) -> Holding:
    """Divide each cell's items between its clients by Dirichlet shares, in random order.

    Training and validation follow the same shares. Whatever the shares, every client first
    gets half of an even share (at least one item, as far as there are enough).
    """
    of_item = board.of_item[items]
    holding: Holding = {}
    for cell, clients in board.clients.items():
        # shares are even long before 1e6, and NumPy's gamma overflows far beyond it
        concentration = [min(alpha, 1e6)] * len(clients)
        shares = rng_for(seed, "scenario", "shares", cell).dirichlet(concentration)
        pile = rng_for(seed, "scenario", part, cell).permutation(items[of_item == cell])
        floor = min(max(1, len(pile) // (2 * len(clients))), len(pile) // len(clients))
        rest = len(pile) - floor * len(clients)
        ends = np.rint(np.cumsum(shares) * rest) + floor * np.arange(1, len(clients) + 1)
        dealt = np.split(pile, ends[:-1].astype(np.int64))
        holding.update({(c, cell): share for c, share in zip(clients, dealt, strict=True)})
    return holding


def _tested(
    test: Indices, cell: int, board: CellAssignment, most: int | None, seed: int
) -> Indices:
    """Return the test items of a cell, ascending; of too many, ``most`` at random."""
    items: Indices = test[board.of_item[test] == cell]
    if most is None or len(items) <= most:
        return items
    drawn: Indices = np.sort(rng_for(seed, "scenario", "test", cell).permutation(items)[:most])
    return drawn


def _kept(items: Indices, amount: float) -> Indices:
    return items[: max(1, round(amount * len(items)))]


def by_task(holding: Holding, client: int, tasks: Sequence[Cells]) -> list[Indices]:
    """Return a client's items ``(n,)`` of each task, ascending.

    The items of a cell that comes several times are divided evenly between its visits.
    """
    visits = [cell for task in tasks for cell in task]
    before: dict[int, int] = {}
    found = []
    for task in tasks:
        parts = []
        for cell in task:
            parts.append(holding[client, cell][before.get(cell, 0) :: visits.count(cell)])
            before[cell] = before.get(cell, 0) + 1
        found.append(np.sort(np.concatenate(parts)))
    return found


def blur_borders(
    tasks: Sequence[Indices], board: CellAssignment, fraction: float, rng: np.random.Generator
) -> list[Indices]:
    """Move a fraction of each task's items to other tasks, each drawn uniformly.

    Of every cell at least one item stays. With one task only there is nowhere to go.
    """
    if not fraction or len(tasks) < 2:
        return list(tasks)
    parts: list[list[Indices]] = [[] for _ in tasks]
    for number, items in enumerate(tasks):
        shuffled = rng.permutation(items)
        _, first = np.unique(board.of_item[shuffled], return_index=True)
        count = round(fraction * len(items))
        moving, staying = np.split(np.delete(shuffled, first), [count])
        parts[number] += [shuffled[first], staying]
        step = rng.integers(1, len(tasks), size=len(moving))  # how many tasks ahead, in a circle
        for other in range(1, len(tasks)):
            parts[(number + other) % len(tasks)].append(moving[step == other])
    return [np.sort(np.concatenate(part)) for part in parts]
