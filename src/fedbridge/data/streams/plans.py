"""What every client is going to meet, and when, before any item is dealt out.

Items that the same clients may use form a cell: a class, or a class in one domain. A cell is
numbered ``class * width + domain``, with width 1 where domains play no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.data.dataset import Dataset

V = TypeVar("V")
Cells = tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """The slots of time in which a client is present, and how many tasks with new data it has."""

    first: int
    last: int
    new: int


@dataclass(frozen=True)
class Plan:
    """One client's part in the scenario."""

    name: str
    start: int
    """Slot of its first task."""
    rounds: int | None
    """In how many rounds of a task, the last ones, it takes part; None: in all."""
    data_fraction: float
    """Fraction of its training items that it keeps."""
    tasks: tuple[Cells, ...]
    """The cells of each task."""

    @property
    def cells(self) -> Cells:
        """All its cells, each once, in the order in which it meets them."""
        return tuple(dict.fromkeys(cell for task in self.tasks for cell in task))


def has_domains(settings: Scenario) -> bool:
    """Return whether a cell is a class in one domain rather than a class."""
    return settings.clients_are == "domains" or settings.kind == "domain-incremental"


def width_of(dataset: Dataset, settings: Scenario) -> int:
    """Return the number of cells that a class has."""
    return len(dataset.domain_names) if has_domains(settings) else 1


def plan_clients(dataset: Dataset, settings: Scenario, seed: int) -> list[Plan]:
    """Return every client's plan.

    Raises UserError, naming the field, the rule and what was found, where the settings contradict
    each other or ask for what the data set does not have.
    """
    spans = _spans(settings)
    _check_domains(dataset, settings, spans)
    sizes = [_class_count(settings, span) for span in spans]
    _check_classes(dataset, settings, sizes)
    orders = _class_orders(len(dataset.classes), settings, sizes, seed)
    effort = _for_each(
        "participation_rounds", settings.participation_rounds or (None,), settings.clients
    )
    amount = _for_each("data_fraction", settings.data_fraction, settings.clients)
    plans = []
    for client, (span, order) in enumerate(zip(spans, orders, strict=True)):
        if settings.kind == "domain-incremental":
            domains = _domain_order(dataset, settings, client, seed)[: span.new]
            tasks = _tasks_of_domains(order, domains, width_of(dataset, settings))
        else:
            tasks = _tasks_of_classes(order, client, dataset, settings)
        tasks += tasks[: settings.repeats]
        name = _name(dataset, settings, client)
        plans.append(Plan(name, span.first, effort[client], amount[client], tuple(tasks)))
    return plans


def _for_each(field: str, values: Sequence[V], clients: int) -> list[V]:
    """Return a value for each client, starting over at the end of a list."""
    if len(values) > clients:
        raise UserError(
            f"scenario.{field}: must have at most one value for each of {clients} clients, "
            f"found {len(values)}"
        )
    return [values[client % len(values)] for client in range(clients)]


def _spans(settings: Scenario) -> list[Span]:
    slots, repeats = settings.slots, settings.repeats
    joins = _for_each("joins", settings.joins, settings.clients)
    leaves = _for_each("leaves", settings.leaves or (slots,), settings.clients)
    spans = []
    for number, (first, last) in enumerate(zip(joins, leaves, strict=True), start=1):
        if not first <= last <= slots:
            raise UserError(
                f"scenario.joins and scenario.leaves: must be slots with joins <= leaves <= "
                f"tasks + repeats = {slots}, found {first} and {last} for client {number}"
            )
        new = last - first + 1 - repeats
        if new < max(1, repeats):
            raise UserError(
                f"scenario.repeats: must leave every client a task with new data for each one "
                f"that is repeated, found {repeats} repeats among the {new + repeats} tasks of "
                f"client {number}"
            )
        spans.append(Span(first, last, new))
    for slot in range(1, slots + 1):
        if not any(span.first <= slot <= span.last for span in spans):
            raise UserError(
                f"scenario.joins and scenario.leaves: some client must be there in every slot "
                f"from 1 to tasks + repeats = {slots}, found no client in slot {slot}"
            )
    return spans


def _class_count(settings: Scenario, span: Span) -> int:
    """Return how many classes a client meets in all."""
    tasks = 1 if settings.kind == "domain-incremental" else span.new
    return tasks * settings.classes_per_task


def _check_domains(dataset: Dataset, settings: Scenario, spans: Sequence[Span]) -> None:
    incremental = settings.kind == "domain-incremental"
    names = dataset.domain_names
    known = f"the number of domains, {len(names)} ({', '.join(names)})"
    if settings.clients_are == "domains" and incremental:
        raise UserError(
            'scenario.clients_are: must be "shards" with kind = "domain-incremental", where tasks '
            'are domains, found "domains"'
        )
    if settings.clients_are == "domains" and settings.clients > len(names):
        raise UserError(
            f'scenario.clients: must be at most {known}, with clients_are = "domains", found '
            f"{settings.clients}"
        )
    longest = max(span.new for span in spans)
    if incremental and longest > len(names):
        raise UserError(
            f'scenario.tasks: must be at most {known}, with kind = "domain-incremental", found '
            f"{longest}"
        )


def _check_classes(dataset: Dataset, settings: Scenario, sizes: Sequence[int]) -> None:
    private, clients = settings.private_classes, settings.clients
    if private > min(sizes):
        what = _what_counts(settings, min(sizes) == max(sizes))
        raise UserError(
            f"scenario.private_classes: must be at most {what} = {min(sizes)}, found {private}"
        )
    if private and settings.order == "same":
        raise UserError(
            'scenario.order: must be "own" where clients have private classes, found "same" with '
            f"private_classes = {private}"
        )
    needed = clients * private + max(sizes) - private
    if needed > len(dataset.classes):
        what = _what_counts(settings, min(sizes) == max(sizes))
        raise UserError(
            f"scenario: clients * private_classes + ({what} - private_classes) = "
            f"{clients} * {private} + ({max(sizes)} - {private}) = {needed} classes are needed, "
            f"data set {dataset.name!r} has {len(dataset.classes)}"
        )


def _what_counts(settings: Scenario, equal: bool) -> str:
    """Return in words how many classes a client meets, in terms of the settings."""
    if settings.kind == "domain-incremental":
        return "classes_per_task"
    return "tasks * classes_per_task" if equal else "a client's tasks * classes_per_task"


def _class_orders(
    classes: int, settings: Scenario, sizes: Sequence[int], seed: int
) -> list[list[int]]:
    """Draw every client's private classes, then its shared ones from the pool left to all."""
    drawn = rng_for(seed, "scenario", "classes").permutation(classes).tolist()
    private = settings.private_classes
    pool = drawn[settings.clients * private :]
    if settings.order == "same":
        return [pool[:size] for size in sizes]
    orders = []
    for client, size in enumerate(sizes):
        rng = rng_for(seed, "scenario", "order", client)
        own = drawn[client * private : (client + 1) * private]
        own += rng.permutation(pool).tolist()[: size - private]
        orders.append([int(label) for label in rng.permutation(own)])
    return orders


def _domain_order(dataset: Dataset, settings: Scenario, client: int, seed: int) -> list[int]:
    """Return the domains as the data set declares them, or in the client's own order."""
    declared = list(range(len(dataset.domain_names)))
    if settings.order == "same":
        return declared
    own: list[int] = rng_for(seed, "scenario", "domains", client).permutation(declared).tolist()
    return own


def _tasks_of_domains(order: list[int], domains: list[int], width: int) -> list[Cells]:
    return [tuple(label * width + domain for label in order) for domain in domains]


def _tasks_of_classes(
    order: list[int], client: int, dataset: Dataset, settings: Scenario
) -> list[Cells]:
    domain = client if settings.clients_are == "domains" else 0
    width, size = width_of(dataset, settings), settings.classes_per_task
    cells = [label * width + domain for label in order]
    return [tuple(cells[at : at + size]) for at in range(0, len(cells), size)]


def _name(dataset: Dataset, settings: Scenario, client: int) -> str:
    if settings.clients_are == "domains":
        return dataset.domain_names[client]
    return f"client-{client + 1}"
