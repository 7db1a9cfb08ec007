"""What a client alone has: its stream and its items, which never leave it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.data.streams.scenario import Task
from fedbridge.models.fm.foundation import Items

Indices = NDArray[np.int64]


class Stream(Protocol):
    """A client's tasks in the order in which they arrive; ClientStream tells what each says."""

    @property
    def name(self) -> str:
        """Return the client's name."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Return the tasks that are known so far."""

    def own_task(self, slot: int) -> int:
        """Return the number of its task in a slot."""

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Say whether it learns in a round of a slot."""

    def seen(self, task: int) -> list[int]:
        """Return the classes that it has met through one of its tasks, ascending."""

    def state(self) -> list[int]:
        """Return the position in the stream, for a restart."""

    def load(self, state: list[int]) -> None:
        """Go back to such a position."""


class Labels(Protocol):
    """The class ids of a client's items; there may be more of them when a task has arrived."""

    def __getitem__(self, rows: Indices, /) -> Indices:
        """Return those of some items, ``(n,)``."""


@dataclass(frozen=True)
class Private:
    """A client's own items, by index."""

    stream: Stream
    inputs_of: Callable[[Indices], Tensor]
    features_of: Callable[[Indices], NDArray[np.float32]]
    labels: Labels
    items_of: Callable[[Indices], Items] | None = None
    """The items as the FM reads them, where it is to read them again."""

    def task(self, number: int) -> Task:
        """Return one of its tasks, counted from 1."""
        return self.stream.tasks[number - 1]

    def released(self, after: int, through: int, least: int) -> Indices:
        """Return the own items whose sums leave with the own tasks after one, through another.

        Of each class at least so many leave together; fewer wait for a later task to bring more.
        """
        waiting = np.zeros(0, np.int64)
        leaving = [waiting]
        for number, task in enumerate(self.stream.tasks[:through], start=1):
            rows = np.concatenate([waiting, task.own])
            labels = self.labels[rows]
            enough = np.bincount(labels)[labels] >= least
            waiting = rows[~enough]
            if number > after:
                leaving.append(rows[enough])
        return np.concatenate(leaving)

    def seen(self, number: int) -> Tensor:
        """Return the ids of all classes met through a task, ascending."""
        return torch.tensor(self.stream.seen(number), dtype=torch.int64)

    def validation(self, number: int) -> Indices:
        """Return all validation items through a task."""
        parts = [task.validation for task in self.stream.tasks[:number]]
        return np.concatenate([*parts, np.zeros(0, np.int64)])
