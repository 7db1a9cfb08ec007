"""Who holds what, and when: the private task streams of all clients and the public set."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fedbridge.config import Scenario
from fedbridge.data.dataset import Dataset
from fedbridge.data.splits import Indices, Split, split_items
from fedbridge.errors import UserError
from fedbridge.rng import rng_for

Orders = list[list[int]]  # for each client its classes, in the order in which it meets them
Key = tuple[int, int]  # (client, class)
Holding = dict[Key, Indices]


@dataclass(frozen=True, eq=False)
class Task:
    """The classes that are new in a task, and a client's items for it, each ``(n,)``."""

    classes: tuple[int, ...]
    own: Indices
    """The client's own training items of these classes, which its sums are taken over."""
    train: Indices
    """What it may train on: ``own``, or more for the upper bounds (``scenario.history``)."""
    validation: Indices
    test: Indices


@dataclass(frozen=True, eq=False)
class ClientStream:
    """One client's tasks, in the order in which they arrive."""

    name: str
    tasks: tuple[Task, ...]


@dataclass(frozen=True, eq=False)
class Streams:
    """The public set ``U`` as item indices ``(n,)``, and every client's stream."""

    public: Indices
    clients: tuple[ClientStream, ...]


@dataclass(frozen=True, eq=False)
class _Cells:
    """A cell holds the items that the same clients may use: a class, or a class in one domain."""

    of_item: Indices  # (N,)
    keys: dict[int, list[Key]]  # for each cell whoever draws from it, in the order of clients
    need: Indices  # (cells,) how many those are


@dataclass(frozen=True, eq=False)
class _Held:
    """What every client holds of every class of its stream."""

    train: Holding
    validation: Holding
    test: Holding


def build_scenario(dataset: Dataset, settings: Scenario, seed: int) -> Streams:
    """Return all streams, a function of the arrays, the settings and the seed alone.

    Raises UserError, naming the field and what was found, where the data cannot carry the
    scenario.
    """
    _check_settings(dataset, settings)
    orders = _class_orders(len(dataset.classes), settings, seed)
    cells = _cells(dataset, settings, orders)
    split = split_items(dataset, settings, cells.of_item, cells.need, seed)
    names = _client_names(dataset, settings)
    held = _hold(split, cells, settings, seed)
    _check_enough(names, dataset.classes, held)
    streams = Streams(
        public=_public_items(dataset, split.public, orders, settings.public_per_class, seed),
        clients=tuple(
            ClientStream(name, _tasks(held, settings, client, order))
            for client, (name, order) in enumerate(zip(names, orders, strict=True))
        ),
    )
    check_disjoint(streams, dataset.groups)
    return streams


def check_disjoint(streams: Streams, groups: Indices | None = None) -> None:
    """Raise UserError if public, test, validation and training share an item.

    With ``groups`` ``(N,)``, the group of every item, they must not even share a group.
    """
    tasks = [task for client in streams.clients for task in client.tasks]
    parts = {
        "public": streams.public,
        "test": np.concatenate([task.test for task in tasks]),
        "validation": np.concatenate([task.validation for task in tasks]),
        "train": np.concatenate([task.train for task in tasks]),
    }
    what = "items" if groups is None else "groups"
    for (one, left), (other, right) in combinations(parts.items(), 2):
        pair = (left, right) if groups is None else (groups[left], groups[right])
        common = np.intersect1d(*pair)
        if len(common):
            raise UserError(
                f"scenario: {one} and {other} must have no {what} in common, found "
                f"{len(common)}, such as {common[0]}"
            )


def _check_settings(dataset: Dataset, settings: Scenario) -> None:
    per_client = settings.tasks * settings.classes_per_task
    private, clients = settings.private_classes, settings.clients
    domains = len(dataset.domain_names)
    if settings.clients_are == "domains" and clients > domains:
        raise UserError(
            f"scenario.clients: must be at most the number of domains, {domains} "
            f'({", ".join(dataset.domain_names)}), with clients_are = "domains", found {clients}'
        )
    if private > per_client:
        raise UserError(
            f"scenario.private_classes: must be at most tasks * classes_per_task = {per_client}, "
            f"found {private}"
        )
    if private and settings.order == "same":
        raise UserError(
            'scenario.order: must be "own" where clients have private classes, found "same" with '
            f"private_classes = {private}"
        )
    needed = clients * private + per_client - private
    if needed > len(dataset.classes):
        raise UserError(
            f"scenario: clients * private_classes + (tasks * classes_per_task - private_classes) = "
            f"{clients} * {private} + ({per_client} - {private}) = {needed} classes are needed, "
            f"data set {dataset.name!r} has {len(dataset.classes)}"
        )


def _class_orders(classes: int, settings: Scenario, seed: int) -> Orders:
    """Draw every client's private classes, then its shared ones from the pool left to all."""
    drawn = rng_for(seed, "scenario", "classes").permutation(classes).tolist()
    private = settings.private_classes
    shared = settings.tasks * settings.classes_per_task - private
    pool = drawn[settings.clients * private :]
    if settings.order == "same":
        return [pool[:shared]] * settings.clients
    orders = []
    for client in range(settings.clients):
        rng = rng_for(seed, "scenario", "order", client)
        own = drawn[client * private : (client + 1) * private]
        own += rng.permutation(pool).tolist()[:shared]
        orders.append([int(label) for label in rng.permutation(own)])
    return orders


def _cells(dataset: Dataset, settings: Scenario, orders: Orders) -> _Cells:
    domains = settings.clients_are == "domains"
    width = len(dataset.domain_names) if domains else 1
    keys: dict[int, list[Key]] = {}
    for client, order in enumerate(orders):
        for label in order:
            cell = label * width + (client if domains else 0)
            keys.setdefault(cell, []).append((client, label))
    of_item = dataset.labels * width + (dataset.domains if domains else 0)
    need = np.zeros(len(dataset.classes) * width, dtype=np.int64)
    for cell, drawing in keys.items():
        need[cell] = len(drawing)
    return _Cells(of_item, keys, need)


def _deal_out(items: Indices, cells: _Cells, alpha: float, seed: int, part: str) -> Holding:
    """Divide each cell's items between its clients by Dirichlet shares, in random order.

    Training and validation follow the same shares. Whatever the shares, every client first
    gets half of an even share (at least one item, as far as there are enough).
    """
    of_item = cells.of_item[items]
    holding: Holding = {}
    for cell, keys in cells.keys.items():
        # shares are even long before 1e6, and NumPy's gamma overflows far beyond it
        concentration = [min(alpha, 1e6)] * len(keys)
        shares = rng_for(seed, "scenario", "shares", cell).dirichlet(concentration)
        pile = rng_for(seed, "scenario", part, cell).permutation(items[of_item == cell])
        floor = min(max(1, len(pile) // (2 * len(keys))), len(pile) // len(keys))
        rest = len(pile) - floor * len(keys)
        ends = np.rint(np.cumsum(shares) * rest) + floor * np.arange(1, len(keys) + 1)
        dealt = np.split(pile, ends[:-1].astype(np.int64))
        holding.update(zip(keys, dealt, strict=True))
    return holding


def _hold(split: Split, cells: _Cells, settings: Scenario, seed: int) -> _Held:
    train = _deal_out(split.train, cells, settings.alpha, seed, "train")
    tested = cells.of_item[split.test]
    return _Held(
        train={key: items[: settings.train_per_class] for key, items in train.items()},
        validation=_deal_out(split.validation, cells, settings.alpha, seed, "validation"),
        # whoever shares a cell is tested on the same items
        test={key: split.test[tested == cell] for cell, keys in cells.keys.items() for key in keys},
    )


def _tasks(held: _Held, settings: Scenario, client: int, order: list[int]) -> tuple[Task, ...]:
    lenders = range(settings.clients) if settings.history == "pooled" else [client]
    tasks = []
    for start in range(0, len(order), settings.classes_per_task):
        end = start + settings.classes_per_task
        new = order[start:end]
        trained = new if settings.history == "task" else order[:end]
        tasks.append(
            Task(
                classes=tuple(new),
                own=_pick(held.train, [client], new),
                train=_pick(held.train, lenders, trained),
                validation=_pick(held.validation, [client], new),
                test=_pick(held.test, [client], new),
            )
        )
    return tuple(tasks)


def _pick(holding: Holding, clients: Iterable[int], labels: list[int]) -> Indices:
    keys = [(client, label) for client in clients for label in labels]
    return np.sort(np.concatenate([holding[key] for key in keys if key in holding]))


def _public_items(
    dataset: Dataset, items: Indices, orders: Orders, per_class: int, seed: int
) -> Indices:
    """Draw ``U`` from all domains; labels only balance the draw and go no further."""
    drawn = []
    for label in sorted({label for order in orders for label in order}):
        of_class = items[dataset.labels[items] == label]
        drawn.append(rng_for(seed, "scenario", "public", label).permutation(of_class)[:per_class])
    public = np.sort(np.concatenate(drawn))
    if not len(public):
        raise UserError(
            "scenario.public: the public set must not be empty, found no item of any client's "
            "classes in the public groups"
        )
    return public


def _client_names(dataset: Dataset, settings: Scenario) -> list[str]:
    if settings.clients_are == "domains":
        return list(dataset.domain_names[: settings.clients])
    return [f"client-{number}" for number in range(1, settings.clients + 1)]


def _check_enough(names: list[str], classes: tuple[str, ...], held: _Held) -> None:
    for client, label in held.train:
        found = [len(part[client, label]) for part in (held.train, held.validation, held.test)]
        if 0 in found:
            raise UserError(
                f"scenario: class {classes[label]!r} of client {names[client]!r} must have at "
                f"least one training, one validation and one test item, found {found[0]}, "
                f"{found[1]} and {found[2]}; fewer clients, other fractions or more data help"
            )
