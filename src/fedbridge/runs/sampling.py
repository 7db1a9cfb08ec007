"""A run in small: the real loop on a few batches of every task, each part of it timed."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fedbridge.data.streams.scenario import ClientStream, Task
from fedbridge.federation.local import LocalTransport
from fedbridge.federation.loop import Tell, federate
from fedbridge.federation.setup import Setup, worker_state_of, workers_of
from fedbridge.methods.context import SharedContext
from fedbridge.server.server import Server
from fedbridge.wire import Broadcast, State, Step, Upload

J = TypeVar("J")
R = TypeVar("R")
Clock = Callable[[], float]


class Size(NamedTuple):
    """How much is left of a run: of a task, and of U, so many batches more than the fewest."""

    task: int = 0
    public: int = 0
    epochs: int = 1
    late: bool = False
    """Whether everybody's last task is carried out, and not the first two alone."""


SIZES = (Size(late=True), Size(task=2, epochs=2), Size(public=2))
"""What is tried: every amount that costs may grow with is met in two sizes."""


class PhaseCost(NamedTuple):
    """A phase of a step, of one client or, without one, of the server, and what it cost."""

    client: str
    step: Step
    kind: tuple[object, ...]
    """Phase, model and place in the run: parts of one kind grow alike with their amounts."""
    amounts: tuple[float, ...]
    """What the cost may grow with, the likeliest first."""
    last: bool = False
    """Whether it is the server's in the last task, after which some of its work is not needed."""
    seconds: float = 0.0
    up: int = 0
    down: int = 0


@dataclass(frozen=True)
class StepPlan:
    """The steps of an experiment, all of them or some."""

    setup: Setup
    todo: list[Step]

    def part(self, phase: str, client: str, step: Step) -> PhaseCost:
        """Return a part of a step with its amounts, before it is known what it costs."""
        setup, batch = self.setup, self.setup.config.training.batch
        rounds, public = setup.config.training.rounds, len(setup.shared.public_inputs) / batch
        ends, tasks = step.round == rounds, {one.task for one in self.todo}
        past = [task for task in sorted(tasks) if task <= step.task]
        if not client:
            present = sum(setup.present(name, step) for name in setup.models)
            amounts = present * public, present, present * public * (len(past) - 1)
            last = step.task == setup.config.scenario.slots
            return PhaseCost(client, step, (phase, "", ends), amounts, last)
        stream, model = stream_of(setup, client), setup.models[client]
        number = stream.own_task(step.task)
        if phase == "evaluate":  # on what is known, and on the task to come
            items = [task.validation for task in stream.tasks[:number]]
            items += [task.test for task in stream.tasks[: number + 1 if number else None]]
            return PhaseCost(
                client, step, (phase, model, number > 0), (sum(map(len, items)) / batch, 1.0)
            )
        epochs = setup.config.training.epochs
        batches = epochs * -(-len(stream.tasks[number - 1].train) // batch)
        age = sum(stream.takes_part(task, rounds, rounds) for task in past)
        starts = step.round == 1 or not stream.takes_part(step.task, step.round - 1, rounds)
        kind = phase, model, number == 1, starts, ends
        return PhaseCost(client, step, kind, (batches, 1.0, max(0, age - 2), public))


def stream_of(setup: Setup, client: str) -> ClientStream:
    """Return a client's stream."""
    return next(stream for stream in setup.streams.clients if stream.name == client)


def reduced(setup: Setup, size: Size) -> Setup:
    """Return an experiment with the same clients, tasks and classes, and fewer items of each."""
    config, shared, batch = setup.config, setup.shared, setup.config.training.batch
    epochs = min(size.epochs, config.training.epochs)
    training = config.training.model_copy(update={"epochs": epochs})
    config = config.model_copy(update={"training": training})
    every = np.arange(len(shared.public_inputs))
    rows = _spread(every, _left(len(every), batch, batch, size.public))
    items: Any = shared.public_items
    if items is not None:
        items = tuple(items[r] for r in rows) if isinstance(items, tuple) else items[rows]
    shared = replace(
        shared,
        config=config,
        public_inputs=shared.public_inputs[rows],
        public_features=shared.public_features[rows],
        public_items=items,
    )
    cut = partial(_cut, batch=batch, more=size.task)
    clients = tuple(replace(c, tasks=tuple(map(cut, c.tasks))) for c in setup.streams.clients)
    return Setup(
        config, setup.dataset, replace(setup.streams, clients=clients), setup.store, shared
    )


def _cut(task: Task, batch: int, more: int) -> Task:
    """Leave what is cheap: own items, of which sums are made, and those of validation."""
    least = max(batch // 2, 2 * len(task.met))
    count = _left(len(task.train), batch, least, more)
    tests = max(len(task.met), len(task.test) * count // max(1, len(task.train)))
    return replace(task, train=_spread(task.train, count), test=_spread(task.test, tests))


def _left(count: int, batch: int, least: int, more: int) -> int:
    """Return ``count`` less whole batches: ``more`` of them are left than ``least`` asks for."""
    return count - max(0, (count - least) // batch - more) * batch


def _spread(rows: Any, count: int) -> Any:
    """Return so many of some rows, from all over them."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def sampled_steps(setup: Setup, late: bool) -> list[Step]:
    """Return steps that stand for all: first and last rounds of first and last tasks."""
    tasks, rounds = setup.config.scenario.slots, setup.config.training.rounds
    chosen: set[Step] = set()
    for client in setup.streams.clients:
        known = [t for t in range(1, tasks + 1) if client.takes_part(t, rounds, rounds)]
        for task in {*known[:2], *(known[-1:] if late else ())}:
            own = [r for r in range(1, rounds + 1) if client.takes_part(task, r, rounds)]
            chosen |= {Step(task, r) for r in (*own[:3], own[-1])}
    return sorted(chosen)


def side_by_side(seconds: Sequence[float], setup: Setup) -> float:
    """Return how long jobs last of which worker w does every one whose number is w mod workers."""
    workers = workers_of(setup.config, setup.shared.device) or 1
    crowding = max(1.0, workers * setup.config.engine.threads / (os.cpu_count() or 1))
    return crowding * max(sum(seconds[w::workers]) for w in range(workers))


class Meter(LocalTransport):
    """The local transport with a stopwatch: one client works after the other."""

    def __init__(self, plan: StepPlan, clock: Clock) -> None:
        setup = plan.setup
        super().__init__(
            partial(worker_state_of, setup), tuple(setup.models), 0, setup.config.engine.threads
        )
        self.plan, self.clock = plan, clock
        self.parts: list[PhaseCost] = []
        self.apart = 0.0
        """Seconds that are no cost of the fusion."""

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        """Let every client learn, and note what that costs."""
        for name, broadcast in broadcasts.items():
            start = self.clock()
            (upload,) = super().exchange({name: broadcast})
            seconds = self.clock() - start
            self.apart += seconds
            up, down, _ = self.take_traffic()
            due = self.plan.part("learn", name, Step(upload.task, upload.round))
            self.parts.append(due._replace(seconds=seconds, up=up, down=down))
            yield upload

    def evaluate(self, broadcasts: dict[str, Broadcast], last: bool = False) -> None:
        """Let every client measure, and note what that costs."""
        for name, broadcast in broadcasts.items():
            start = self.clock()
            super().evaluate({name: broadcast}, last)
            due = self.plan.part("evaluate", name, Step(broadcast.task, broadcast.round))
            self.parts.append(due._replace(seconds=self.clock() - start))
        self.take_evaluations()

    def map_jobs(
        self, function: Callable[[SharedContext, J], R], jobs: list[J], tell: Tell | None = None
    ) -> list[R]:
        """Run a function on every job; what workers do side by side costs its time once."""
        found: list[R] = []
        seconds: list[float] = []
        for job in jobs:
            start = self.clock()
            found += super().map_jobs(function, [job], tell)
            seconds.append(self.clock() - start)
        self.apart += sum(seconds) - side_by_side(seconds, self.plan.setup)
        return found


def carried_out(
    plan: StepPlan, states: dict[str, State], clock: Clock, end: float
) -> list[PhaseCost]:
    """Carry a plan out, until the clock has come to ``end``, and return what each part cost."""
    setup, rounds = plan.setup, plan.setup.config.training.rounds
    with Meter(plan, clock) as meter:
        server = Server(setup.shared, setup.models, meter.map_jobs, setup.present)
        server.states = dict(states)
        meter.evaluate(server.broadcast(Step(0, rounds)))
        start, meter.apart = clock(), 0.0
        for step in federate(server, meter, plan.todo):
            spent = clock() - start - meter.apart
            meter.parts.append(plan.part("fuse", "", step)._replace(seconds=spent))
            if step.round == rounds:
                meter.evaluate(server.broadcast(step))
            start, meter.apart = clock(), 0.0
            if start >= end:
                break
        return meter.parts


def sampled(setup: Setup, states: dict[str, State], clock: Clock, end: float) -> list[PhaseCost]:
    """Carry an experiment out in small, in several sizes, and return what each part cost."""
    found: list[PhaseCost] = []
    for size in SIZES:
        plan = StepPlan(reduced(setup, size), sampled_steps(setup, size.late))
        if not found:  # the first of everything is slow
            carried_out(StepPlan(plan.setup, plan.todo[:1]), states, clock, end)
        if not found or clock() < end:
            found += carried_out(plan, states, clock, end)
    return found
