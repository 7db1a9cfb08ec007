"""What an inspection looks at, and what it finds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.notes import NOTHING, Notes

SIDES = ("train", "validation", "test", "public")
PUBLIC = SIDES.index("public")


@dataclass(frozen=True, eq=False)
class Pool:
    """Every item once, N of them, on the one side where it is used."""

    places: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,), -1 for public items
    sides: NDArray[np.int64]  # (N,), places in SIDES
    digests: tuple[bytes, ...]  # equal for equal contents
    vectors: NDArray[np.float32] | None  # (N, D), of the FM, where there is one


@dataclass(frozen=True)
class Cluster:
    """Items of equal content that stand on different sides or have different labels."""

    places: tuple[str, ...]
    """Where all of them stand, first one of each side and label."""
    remark: str


@dataclass(frozen=True)
class Pair:
    """Two items on different sides that are nearly equal."""

    one: str
    other: str
    remark: str


@dataclass(frozen=True)
class Doubt:
    """An item that all others would put into another class."""

    place: str
    label: str
    looks_like: str
    margin: float
    """How far the score of that class is above that of its own, as the others have it."""


@dataclass(frozen=True, eq=False)
class TaskFacts:
    """A task of a client, and its items by class and side."""

    client: str
    name: str
    counts: NDArray[np.int64]  # (C, 3)


@dataclass(frozen=True, eq=False)
class Findings:
    """All that was found."""

    title: str
    classes: tuple[str, ...]
    tasks: tuple[TaskFacts, ...]
    """None where the data cannot be divided as the settings say."""
    public: int
    """Number of public items."""
    unusable: tuple[str, ...]
    """What would keep a run from using the data."""
    equal: tuple[Cluster, ...]
    near: tuple[Pair, ...]
    doubts: tuple[Doubt, ...]
    stock: tuple[int, ...] = ()
    """Items of each class before they are divided; empty where that is unknown."""
    left_out: tuple[str, ...] = ()
    """What a run would leave out, since the settings say so."""
    notes: Notes = NOTHING
    """What was noticed while the data were read."""
    skipped: str = ""
    """Why nothing was compared by the FM's embeddings; empty where it was."""
    blank: tuple[str, ...] | None = None
    """Where pictures stand that show nothing; None where the items are no pictures."""
