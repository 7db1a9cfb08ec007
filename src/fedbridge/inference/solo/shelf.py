"""What a client by itself holds: every label, and those items that are still asked for."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.data.readers.reading import Inputs
from fedbridge.data.streams.scenario import Task
from fedbridge.data.streams.splits import Indices
from fedbridge.models.small.space import stored

State = dict[str, Tensor]


@dataclass
class ManualStream:
    """The tasks given so far, as a stream: the k-th arrives in the k-th slot."""

    name: str
    known: list[Task] = field(default_factory=list)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Return the tasks that are known so far."""
        return tuple(self.known)

    def own_task(self, slot: int) -> int:
        """Return the number of its task in a slot."""
        return min(slot, len(self.known))

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Return whether there is something to learn in a slot."""
        return slot == len(self.known)

    def seen(self, task: int) -> list[int]:
        """Return the classes met through a task, ascending."""
        return sorted({label for one in self.known[:task] for label in one.met})

    def state(self) -> list[int]:
        """Return nothing: the tasks are kept beside it."""
        return []

    def load(self, state: list[int]) -> None:
        """Restore what ``state`` returned."""


class ItemStore:
    """Items by number; those of earlier tasks go, but for validation and exemplars."""

    def __init__(self, input_shape: tuple[int, ...], dimension: int) -> None:
        words = len(input_shape) == 1
        self.labels: Indices = np.zeros(0, np.int64)
        self.rows: Indices = np.zeros(0, np.int64)  # numbers of what is kept, ascending
        self.inputs: NDArray[Any] = np.zeros((0, *input_shape), np.uint16 if words else np.uint8)
        self.embeddings: NDArray[np.float32] = np.zeros((0, dimension), np.float32)

    def put(self, inputs: Inputs, embeddings: NDArray[np.float32], labels: Indices) -> Indices:
        """Store items and return their numbers."""
        rows = np.arange(len(self.labels), len(self.labels) + len(labels))
        self.labels = np.concatenate([self.labels, labels])
        self.rows = np.concatenate([self.rows, rows])
        self.inputs = np.concatenate([self.inputs, inputs])
        self.embeddings = np.concatenate([self.embeddings, embeddings])
        return rows

    def keep(self, rows: Indices) -> None:
        """Drop all other items; their labels stay."""
        places = self._places(np.unique(rows))
        self.rows, self.inputs = self.rows[places], self.inputs[places]
        self.embeddings = self.embeddings[places]

    def inputs_of(self, rows: Indices) -> Tensor:
        """Return what the small model reads, ``(n, ...)``."""
        return stored(self.inputs[self._places(rows)])

    def embeddings_of(self, rows: Indices) -> NDArray[np.float32]:
        """Return the FM's embeddings ``(n, D)``."""
        return self.embeddings[self._places(rows)]

    def state(self) -> State:
        """Return everything as arrays."""
        return {
            "labels": torch.from_numpy(self.labels),
            "rows": torch.from_numpy(self.rows),
            "inputs": torch.from_numpy(self.inputs.copy()),
            "embeddings": torch.from_numpy(self.embeddings),
        }

    def load(self, state: State) -> None:
        """Restore what ``state`` returned."""
        self.labels, self.rows = state["labels"].numpy(), state["rows"].numpy()
        self.inputs, self.embeddings = state["inputs"].numpy(), state["embeddings"].numpy()

    def _places(self, rows: Indices) -> Indices:
        return np.searchsorted(self.rows, rows)
