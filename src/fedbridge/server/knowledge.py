"""What the server knows of each small model: its answers on the public set, and its classes."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from fedbridge.wire import State


@dataclass(frozen=True)
class Knowledge:
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
    knowledge: Knowledge
    snapshots: tuple[Knowledge, ...]
    """The client's own models as they ended earlier tasks."""
    items: int = 1
    """Training items of its task, its weight in an average."""
    prototypes: Tensor = field(default_factory=lambda: torch.zeros(0))
    """Sums of its embeddings by class and their numbers ``(C, P + 1)``, if the fusion asks."""


class Noted(NamedTuple):
    """What is wrong with one client, though not so that its upload must be refused."""

    kind: str
    """``diverged`` or ``capped``."""
    client: str
    reason: str
    about: dict[str, float] = {}  # noqa: RUF012 - nobody changes it
    """Numbers by name: the step and the rate of a training that diverged, say."""


class Taught(NamedTuple):
    """Who taught whom in a round, and how much."""

    student: str
    teacher: str
    weight: float
    """Mean weight of the teacher's lessons over U."""
    agreement: float
    """Fraction of the taught items on which both already agreed."""
    reach: float
    """Fraction of U on which the teacher had anything to say."""
