"""The server's ways to fuse what it received into one model per client."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from fedbridge.config import OBOD, Alone
from fedbridge.models.commons import Commons
from fedbridge.rng import seed_for
from fedbridge.server.knowledge import Student, Taught
from fedbridge.server.obod import Pupil, choose_teachers, distil
from fedbridge.wire import State, Step

Spread = Callable[[Callable[[Commons, Pupil], State], list[Pupil]], list[State]]
"""Runs a pure function on every pupil, in this process or in others, and keeps the order."""


@dataclass(frozen=True)
class Gathered:
    """All that the server holds once every upload of a round is in."""

    step: Step
    students: list[Student]
    belief: Tensor  # (|U|, C), the large side's distribution over the classes it knows
    notes: State = field(default_factory=dict)
    """What the fusion itself keeps from round to round; it may change it."""


@dataclass(frozen=True)
class Fused:
    """One state per student, in order, and the record of who taught."""

    states: list[State]
    taught: list[Taught]
    shared: State = field(default_factory=dict)
    """What every client is sent from now on, by name."""


def keep_own(round_: Gathered, commons: Commons, options: Alone, spread: Spread) -> Fused:
    """Give every client back what it uploaded."""
    return Fused([student.state for student in round_.students], [])


def one_by_one(round_: Gathered, commons: Commons, options: OBOD, spread: Spread) -> Fused:
    """Distil the chosen teachers into every student, one teacher after the other."""
    if options.rounds == "last" and round_.step.round < commons.config.training.rounds:
        return Fused([student.state for student in round_.students], [])
    everyone = [student.knowledge for student in round_.students]
    pupils = []
    for student in round_.students:
        teachers = choose_teachers(student, everyone, commons, options, round_.belief)
        seed = seed_for(commons.config.seed, "fuse", student.name, *round_.step)
        pupils.append(Pupil(student, teachers, seed))
    taught = [record for pupil in pupils for record in pupil.taught()]
    return Fused(spread(distil, pupils), taught)


class Fusion(NamedTuple):
    """A way to fuse."""

    fuse: Callable[[Gathered, Commons, Any, Spread], Fused]
    """Gets the fusion's own section of the config; its states are in the order of students."""
    asks: bool = True
    """Whether it asks the models what they say of the public set."""


FUSIONS: dict[str, Fusion] = {
    "none": Fusion(keep_own, asks=False),
    "obod": Fusion(one_by_one),
}
