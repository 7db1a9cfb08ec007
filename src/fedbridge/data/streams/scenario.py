"""Who holds what, and when: the private task streams of all clients and the public set."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import combinations

import numpy as np

from fedbridge.config import Scenario, checked_options
from fedbridge.core.entries import entry_of, foreign_errors, is_own
from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.data.dataset import Dataset
from fedbridge.data.spec import Division, ScenarioKind
from fedbridge.data.streams.dealing import (
    CellAssignment,
    ClientHoldings,
    allocate,
    blur_borders,
    by_task,
    lay_out,
)
from fedbridge.data.streams.division import require_whole
from fedbridge.data.streams.given import as_stated
from fedbridge.data.streams.plans import Cells, Plan, plan_clients
from fedbridge.data.streams.splits import Indices, split_items
from fedbridge.data.streams.stream import ClientStream, Elsewhere, StatedStream, Streams, Task

__all__ = [
    "SCENARIOS",
    "ClientStream",
    "Elsewhere",
    "StatedStream",
    "Streams",
    "Task",
    "build_scenario",
    "check_disjoint",
    "kind_of_scenario",
    "public_items",
    "streams_by",
]


def kind_of_scenario(settings: Scenario) -> ScenarioKind:
    """Return what ``scenario.kind`` names: one of ``SCENARIOS``, or ``MODULE:NAME``.

    Raises UserError if there is none of this name, or it does not take ``scenario.options``.
    """
    kind = entry_of(SCENARIOS, settings.kind, "scenario.kind", ScenarioKind)
    checked_options(kind.options, settings.options, "scenario.options", settings.kind)
    return kind


def build_scenario(dataset: Dataset, settings: Scenario, seed: int) -> Streams:
    """Return all streams, a function of the arrays, the settings and the seed alone.

    Raises UserError, naming the field and what was found, where the data cannot carry the
    scenario, or what somebody's own scenario says is none.
    """
    return streams_by(kind_of_scenario(settings), dataset, settings, seed)


def streams_by(kind: ScenarioKind, dataset: Dataset, settings: Scenario, seed: int) -> Streams:
    """Return all streams as a kind of scenario has them, whatever ``scenario.kind`` says."""
    options = checked_options(kind.options, settings.options, "scenario.options", settings.kind)
    theirs = foreign_errors(settings.kind, "scenario.kind")
    with theirs if is_own(settings.kind) else nullcontext():
        divided = kind.divide(dataset, settings, options, seed)
    if isinstance(divided, Division):
        divided = _streams_of(divided, dataset, settings)
    elif not isinstance(divided, Streams):
        raise UserError(
            f"scenario.kind: {settings.kind} must return a Division, found {type(divided).__name__}"
        )
    check_disjoint(divided, dataset.groups)
    if settings.measure == "validation":
        _check_held_back(divided)
    return divided


def _drawn(dataset: Dataset, settings: Scenario, options: None, seed: int) -> Streams:
    """Return streams of classes, or domains, that are drawn."""
    plans = plan_clients(dataset, settings, seed)
    board = lay_out(dataset, settings, plans)
    split = split_items(dataset, settings, board.of_item, board.need, seed)
    held = allocate(split, board, settings, plans, seed)
    _check_enough(dataset, board, plans, held)
    labels = sorted({cell // board.width for cell in board.clients})
    return Streams(
        public=public_items(dataset, split.public, labels, settings.public_per_class, seed),
        clients=_clients(dataset, settings, board, plans, held, seed),
    )


def _given(dataset: Dataset, settings: Scenario, options: None, seed: int) -> Division:
    """Return what the data themselves state."""
    stated = as_stated(dataset, settings, seed)
    labels = range(len(dataset.classes))
    public = public_items(dataset, stated.public, labels, settings.public_per_class, seed)
    return Division(public, stated.clients)


SCENARIOS: dict[str, ScenarioKind] = {
    "class-incremental": ScenarioKind(_drawn, "the next task brings other classes"),
    "domain-incremental": ScenarioKind(_drawn, "the next task brings the classes in other domains"),
    "given": ScenarioKind(_given, "tasks are what the data say: a column, dates or folders"),
}


def _streams_of(division: Division, dataset: Dataset, settings: Scenario) -> Streams:
    """Return the streams of clients whose tasks may come in any slots."""
    require_whole(division, dataset, settings)
    everything = np.concatenate([s.train for of in division.clients.values() for s in of.values()])
    effort = settings.participation_rounds or (None,)
    clients = []
    for number, (name, shares) in enumerate(division.clients.items()):
        arrived: list[Indices] = []
        tasks = []
        for share in shares.values():
            arrived.append(share.train)
            classes = tuple(np.unique(dataset.labels[share.train]).tolist())
            train = _trained_on(arrived, settings.history, everything, dataset.labels)
            kept = (share.validation, share.test)
            tasks.append(Task(classes, share.train, train, *kept, classes, share.name))
        rounds = effort[number % len(effort)]
        clients.append(StatedStream(name, tuple(tasks), 1, rounds, tuple(shares)))
    return Streams(division.public, tuple(clients))


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
    board: CellAssignment,
    plans: Sequence[Plan],
    held: ClientHoldings,
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


def _tested_on(held: ClientHoldings, client: int, cells: Cells) -> Indices:
    return np.sort(np.concatenate([held.test[client, cell] for cell in cells]))


def _met(classes: tuple[int, ...], labels: Indices) -> tuple[int, ...]:
    found = np.unique(labels).tolist()
    return classes + tuple(label for label in found if label not in classes)


def public_items(
    dataset: Dataset, items: Indices, labels: Sequence[int], per_class: int, seed: int
) -> Indices:
    """Draw ``U`` from ``items``; labels only balance the draw and go no further.

    Raises UserError if nothing is left.
    """
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


def _check_enough(
    dataset: Dataset, board: CellAssignment, plans: Sequence[Plan], held: ClientHoldings
) -> None:
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
                f"leaving out classes of few items (data.own.min_class_items)"
            )
