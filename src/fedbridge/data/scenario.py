"""Who holds what, and when: the private task streams of all clients and the public set."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fedbridge.config import Scenario
from fedbridge.data.dataset import Dataset
from fedbridge.data.dealing import Board, Held, blur_borders, by_task, hold, lay_out
from fedbridge.data.given import state_streams
from fedbridge.data.plans import Cells, Plan, plan_clients
from fedbridge.data.splits import Indices, split_items
from fedbridge.errors import UserError
from fedbridge.rng import rng_for


@dataclass(frozen=True, eq=False)
class Task:
    """The classes that a task is about, and a client's items for it, each ``(n,)``."""

    classes: tuple[int, ...]
    own: Indices
    """The client's own training items that arrive with this task; its sums are over these."""
    train: Indices
    """What it may train on: ``own``, or more for the upper bounds (``scenario.history``)."""
    validation: Indices
    test: Indices
    met: tuple[int, ...]
    """The classes of the items in ``own``: ``classes``, then others that blur has brought."""
    name: str = ""
    """What the data call it; empty where they do not."""


@dataclass(frozen=True, eq=False)
class ClientStream:
    """One client's tasks, in the order in which they arrive, one in each slot of time."""

    name: str
    tasks: tuple[Task, ...]
    start: int = 1
    """Slot of its first task."""
    rounds: int | None = None
    """In how many rounds of a task, the last ones, it takes part; None: in all."""

    def own_task(self, slot: int) -> int:
        """Return the number of its task in a slot: 0 before its first, afterwards its last."""
        return min(max(0, slot - self.start + 1), len(self.tasks))

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Return whether it learns in a round, counted from 1, of the ``rounds`` of a slot."""
        there = self.start <= slot < self.start + len(self.tasks)
        return there and (self.rounds is None or round_ > rounds - self.rounds)

    def seen(self, task: int) -> list[int]:
        """Return the classes that it has met through one of its tasks, ascending."""
        return sorted({label for known in self.tasks[:task] for label in known.met})

    def state(self) -> list[int]:
        """Return what a restart must know of it: nothing, all of it is known beforehand."""
        return []

    def load(self, state: list[int]) -> None:
        """Restore what ``state`` returned."""


@dataclass(frozen=True, eq=False)
class StatedStream(ClientStream):
    """A stream of tasks that the data state, whose client may have nothing in some slots."""

    slots: tuple[int, ...] = ()
    """The slot of each task, ascending."""

    def own_task(self, slot: int) -> int:
        """Return the number of its newest task in a slot, 0 before its first."""
        return sum(known <= slot for known in self.slots)

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Return whether it has a task in a slot, and learns in a round of it."""
        return slot in self.slots and (self.rounds is None or round_ > rounds - self.rounds)


@dataclass(frozen=True, eq=False)
class Elsewhere(ClientStream):
    """A stream as the server of real sites knows it: by the client's name only."""

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Return True: a site that has nothing to learn says so itself."""
        return True


@dataclass(frozen=True, eq=False)
class Streams:
    """The public set ``U`` as item indices ``(n,)``, and every client's stream."""

    public: Indices
    clients: tuple[ClientStream, ...]


def build_scenario(dataset: Dataset, settings: Scenario, seed: int) -> Streams:
    """Return all streams, a function of the arrays, the settings and the seed alone.

    Raises UserError, naming the field and what was found, where the data cannot carry the
    scenario.
    """
    if settings.kind == "given":
        return _stated(dataset, settings, seed)
    plans = plan_clients(dataset, settings, seed)
    board = lay_out(dataset, settings, plans)
    split = split_items(dataset, settings, board.of_item, board.need, seed)
    held = hold(split, board, settings, plans, seed)
    _check_enough(dataset, board, plans, held)
    labels = sorted({cell // board.width for cell in board.clients})
    streams = Streams(
        public=_public_items(dataset, split.public, labels, settings.public_per_class, seed),
        clients=_clients(dataset, settings, board, plans, held, seed),
    )
    check_disjoint(streams, dataset.groups)
    return streams


def _stated(dataset: Dataset, settings: Scenario, seed: int) -> Streams:
    """Return the streams that the data themselves state."""
    stated = state_streams(dataset, settings, seed)
    everything = np.concatenate([s.train for of in stated.shares.values() for s in of.values()])
    effort = settings.effort or (None,)
    clients = []
    for number, (name, shares) in enumerate(stated.shares.items()):
        arrived: list[Indices] = []
        tasks = []
        for slot, share in shares.items():
            arrived.append(share.train)
            classes = tuple(np.unique(dataset.labels[share.train]).tolist())
            train = _trained_on(arrived, settings.history, everything, dataset.labels)
            kept = (share.validation, share.test)
            called = dataset.task_names[slot - 1]
            tasks.append(Task(classes, share.train, train, *kept, classes, called))
        rounds = effort[number % len(effort)]
        clients.append(StatedStream(name, tuple(tasks), 1, rounds, tuple(shares)))
    labels = range(len(dataset.classes))
    per_class = settings.public_per_class
    public = _public_items(dataset, stated.public, labels, per_class, seed)
    streams = Streams(public, tuple(clients))
    check_disjoint(streams, dataset.groups)
    if settings.measure == "validation":
        _check_held_back(streams)
    return streams


def _check_held_back(streams: Streams) -> None:
    for client in streams.clients:
        for number, task in enumerate(client.tasks, start=1):
            if not len(task.validation):
                raise UserError(
                    f"scenario.measure: 'validation' needs items that every task holds back, found "
                    f"none in task {number} of {client.name!r}; a larger scenario.validation helps"
                )


def check_disjoint(streams: Streams, groups: Indices | None = None) -> None:
    """Raise UserError if public, test, validation and training share an item.

    With ``groups`` ``(N,)``, the group of every item, they must not even share a group.
    """
    tasks = [task for client in streams.clients for task in client.tasks]
    parts = {
        "public": streams.public,
        "test": np.concatenate([task.test for task in tasks]),
        "validation": np.concatenate([task.validation for task in tasks]),
        "train": np.concatenate([part for task in tasks for part in (task.own, task.train)]),
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


def _clients(
    dataset: Dataset,
    settings: Scenario,
    board: Board,
    plans: Sequence[Plan],
    held: Held,
    seed: int,
) -> tuple[ClientStream, ...]:
    """Return all streams; what others hold matters to one of them only if ``pooled``."""
    own = [
        blur_borders(
            by_task(held.train, client, plan.tasks),
            board,
            settings.blur,
            rng_for(seed, "scenario", "blur", client),
        )
        for client, plan in enumerate(plans)
    ]
    everything = np.concatenate([items for tasks in own for items in tasks])
    # what is lent is of the classes met, or of the classes in the domains met where those change
    kind = board.of_item if settings.kind == "domain-incremental" else dataset.labels
    streams = []
    for client, plan in enumerate(plans):
        validation = by_task(held.validation, client, plan.tasks)
        tasks = []
        for number, cells in enumerate(plan.tasks):
            arrived = own[client][: number + 1]
            classes = tuple(cell // board.width for cell in cells)
            tasks.append(
                Task(
                    classes=classes,
                    own=arrived[-1],
                    train=_trained_on(arrived, settings.history, everything, kind),
                    validation=validation[number],
                    test=_tested_on(held, client, cells),
                    met=_met(classes, dataset.labels[arrived[-1]]),
                )
            )
        streams.append(ClientStream(plan.name, tuple(tasks), plan.start, plan.rounds))
    return tuple(streams)


def _trained_on(
    arrived: Sequence[Indices], history: str, everything: Indices, kind: Indices
) -> Indices:
    """Return the items to train on once those of some tasks have ``arrived``, ascending."""
    if history == "task":
        return arrived[-1]
    so_far = np.sort(np.concatenate(arrived))
    if history == "own":
        return so_far
    return np.sort(everything[np.isin(kind[everything], kind[so_far])])


def _tested_on(held: Held, client: int, cells: Cells) -> Indices:
    return np.sort(np.concatenate([held.test[client, cell] for cell in cells]))


def _met(classes: tuple[int, ...], labels: Indices) -> tuple[int, ...]:
    found = np.unique(labels).tolist()
    return classes + tuple(label for label in found if label not in classes)


def _public_items(
    dataset: Dataset, items: Indices, labels: Sequence[int], per_class: int, seed: int
) -> Indices:
    """Draw ``U`` from all domains; labels only balance the draw and go no further."""
    drawn = []
    for label in labels:
        of_class = items[dataset.labels[items] == label]
        drawn.append(rng_for(seed, "scenario", "public", label).permutation(of_class)[:per_class])
    public = np.sort(np.concatenate(drawn))
    if not len(public):
        raise UserError(
            "scenario.public: the public set must not be empty, found no item of any client's "
            "classes in the public groups"
        )
    return public


def _check_enough(dataset: Dataset, board: Board, plans: Sequence[Plan], held: Held) -> None:
    for client, plan in enumerate(plans):
        for cell in plan.cells:
            label = cell // board.width
            visits = sum(cell in task for task in plan.tasks)
            found = [len(part[client, cell]) for part in (held.train, held.validation, held.test)]
            if found[0] >= visits and 0 not in found:
                continue
            domain = dataset.domain_names[cell % board.width]
            where = f" in domain {domain!r}" if board.width > 1 and domain != plan.name else ""
            least = "one training" if visits == 1 else f"{visits} training (it is repeated)"
            raise UserError(
                f"scenario: class {dataset.classes[label]!r} of client {plan.name!r}{where} must "
                f"have at least {least}, one validation and one test item, found {found[0]}, "
                f"{found[1]} and {found[2]}; fewer clients, other fractions or more data help, or "
                f"leaving out classes of few items (data.own.least)"
            )
