"""What a client studies in one round, gathered once so that a step costs one forward pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fedbridge.config import Training
from fedbridge.models.commons import Commons
from fedbridge.models.space import SmallModel


@dataclass(frozen=True)
class Share:
    """Items with everything that is already known of them: labels and both teachers' answers."""

    inputs: Tensor  # (n, ...)
    labels: Tensor  # (n,), class ids; -1 where unknown (public items)
    previous: Tensor | None  # (n, P), embeddings by the own model as it ended the previous task
    guide: Tensor  # (n, C), logits of the large side or of its mixture with the own model

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: Tensor) -> "Share":
        previous = None if self.previous is None else self.previous[rows]
        return Share(self.inputs[rows], self.labels[rows], previous, self.guide[rows])

    def __add__(self, other: "Share") -> "Share":
        previous = None
        if self.previous is not None and other.previous is not None:
            previous = torch.cat([self.previous, other.previous])
        return Share(
            torch.cat([self.inputs, other.inputs]),
            torch.cat([self.labels, other.labels]),
            previous,
            torch.cat([self.guide, other.guide]),
        )


@dataclass(frozen=True)
class Lesson:
    """One client's round of one task."""

    model: SmallModel
    commons: Commons
    task: Share
    memory: Share
    public: Share
    seen: Tensor  # class ids the client has seen, ascending
    new: Tensor  # class ids of this task
    old: Tensor  # class ids of earlier tasks
    taught: Tensor  # seen class ids that the large side's head knows
    generator: torch.Generator

    @property
    def training(self) -> Training:
        """Return the settings of training."""
        return self.commons.config.training

    def optimiser(self) -> torch.optim.Optimizer:
        """Return a fresh AdamW over the model."""
        settings = self.training
        return torch.optim.AdamW(
            self.model.parameters(), lr=settings.rate, weight_decay=settings.weight_decay
        )

    def batches(self) -> Iterator[Share]:
        """Yield the task's items in a new order in every epoch; a last batch of one is dropped."""
        for _ in range(self.training.epochs):
            order = torch.randperm(len(self.task), generator=self.generator)
            if len(order) == 1:
                order = order.repeat(2)  # normalisation layers cannot learn from a single item
            for rows in order.split(self.training.batch):
                if len(rows) > 1:
                    yield self.task[rows.to(self.task.inputs.device)]

    def draw(self, share: Share, size: int) -> Share:
        """Draw items with replacement."""
        rows = torch.randint(len(share), (size,), generator=self.generator)
        return share[rows.to(share.inputs.device)]

    def columns(self, labels: Tensor, classes: Tensor) -> Tensor:
        """Return the places of class ids in an ascending list of classes."""
        return torch.searchsorted(classes, labels)
