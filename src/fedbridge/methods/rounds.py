"""What a fusion gets of a round, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor

from fedbridge.methods.context import SharedContext
from fedbridge.wire import State, Step

J = TypeVar("J")
R = TypeVar("R")


class MapJobs(Protocol):
    """Runs a pure function on every job, in this process or in others, and keeps the order."""

    def __call__(self, function: Callable[[SharedContext, J], R], jobs: list[J], /) -> list[R]:
        """Return ``function(shared, job)`` of every job."""


@dataclass(frozen=True)
class PublicPredictions:
    """A model as a possible teacher: no parameters, only its embeddings of U."""

    name: str
    """The client, or ``client@task-2`` for its model as it ended that task."""
    classes: tuple[int, ...]
    """Classes it has seen."""
    embedding: Tensor
    """Its embeddings of the public set, ``(|U|, P)``."""


@dataclass(frozen=True)
class Student:
    """A client's model as it was uploaded, with all that may serve to teach it."""

    name: str
    model: str
    """Entry of SMALL_MODELS."""
    state: State
    predictions: PublicPredictions
    snapshots: tuple[PublicPredictions, ...]
    """The client's own models as they ended earlier tasks."""
    num_examples: int = 1
    """Training items of its task, its weight in an average."""
    extra: State = field(default_factory=dict)
    """What it uploaded besides for the fusion, by name; empty where the fusion asks for nothing."""


class Noted(NamedTuple):
    """What is wrong with one client, though not so that its upload must be refused."""

    kind: str
    """``diverged`` or ``capped``."""
    client: str
    reason: str
    about: dict[str, float] = {}  # noqa: RUF012 - nobody changes it
    """Numbers by name: the step and the rate of a training that diverged, say."""


class TeachingRecord(NamedTuple):
    """Who taught whom in a round, and how much."""

    student: str
    teacher: str
    weight: float
    """Mean weight of the teacher's lessons over U."""
    agreement: float
    """Fraction of the taught items on which both already agreed."""
    reach: float
    """Fraction of U on which the teacher had anything to say."""


@dataclass(frozen=True)
class RoundUploads:
    """All that the server holds once every upload of a round is in."""

    step: Step
    students: list[Student]
    """Who took part in the round, in the declared order of clients."""
    notes: State = field(default_factory=dict)
    """What the fusion itself keeps from round to round; it may change it."""
    models: dict[str, str] = field(default_factory=dict)
    """The architectures of all clients by name, whether or not they took part."""


@dataclass(frozen=True)
class FusionResult:
    """What clients go on from, by name, and the record of who taught.

    A client that is not named, present or absent, goes on from what it was last sent.
    """

    states: dict[str, State]
    taught: list[TeachingRecord]
    shared: State = field(default_factory=dict)
    """What every client is sent from now on, by name."""
