"""What a client alone has: its stream and its items, which never leave it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.data.scenario import ClientStream, Task
from fedbridge.models.foundation import Items

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Private:
    """A client's own items, by index."""

    stream: ClientStream
    inputs_of: Callable[[Indices], Tensor]
    features_of: Callable[[Indices], NDArray[np.float32]]
    labels: NDArray[np.int64]
    items_of: Callable[[Indices], Items] | None = None
    """The items as the FM reads them, where it is to read them again."""

    def task(self, number: int) -> Task:
        """Return one of its tasks, counted from 1."""
        return self.stream.tasks[number - 1]

    def seen(self, number: int) -> Tensor:
        """Return the ids of all classes met through a task, ascending."""
        return torch.tensor(self.stream.seen(number), dtype=torch.int64)

    def validation(self, number: int) -> Indices:
        """Return all validation items through a task."""
        parts = [task.validation for task in self.stream.tasks[:number]]
        return np.concatenate([*parts, np.zeros(0, np.int64)])
