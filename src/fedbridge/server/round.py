"""What a way to fuse gets, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from fedbridge.models.commons import Commons
from fedbridge.server.knowledge import Student, Taught
from fedbridge.wire import State, Step

J = TypeVar("J")
R = TypeVar("R")


class Spread(Protocol):
    """Runs a pure function on every job, in this process or in others, and keeps the order."""

    def __call__(self, function: Callable[[Commons, J], R], jobs: list[J], /) -> list[R]:
        """Return ``function(commons, job)`` of every job."""


@dataclass(frozen=True)
class Gathered:
    """All that the server holds once every upload of a round is in."""

    step: Step
    students: list[Student]
    """Who took part in the round, in the declared order of clients."""
    notes: State = field(default_factory=dict)
    """What the fusion itself keeps from round to round; it may change it."""
    models: dict[str, str] = field(default_factory=dict)
    """The architectures of all clients by name, whether or not they took part."""


@dataclass(frozen=True)
class Fused:
    """What clients go on from, by name, and the record of who taught.

    A client that is not named, present or absent, goes on from what it was last sent.
    """

    states: dict[str, State]
    taught: list[Taught]
    shared: State = field(default_factory=dict)
    """What every client is sent from now on, by name."""
