"""What a client studies in one round, gathered once so that a step costs one forward pass."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedbridge.config import Training
from fedbridge.losses import cross_entropy, require_finite
from fedbridge.models.commons import Commons
from fedbridge.models.optimiser import adamw
from fedbridge.models.space import SmallModel
from fedbridge.wire import State


@dataclass(frozen=True)
class Share:
    """Items with everything that is already known of them: labels and both teachers' answers."""

    inputs: Tensor  # (n, ...)
    labels: Tensor  # (n,), class ids; -1 where unknown (public items)
    previous: Tensor | None  # (n, P), embeddings by the own model as it ended the previous task
    guide: Tensor  # (n, C), logits of the large side or of its mixture with the own model
    items: Tensor  # (n,), the client's own numbers of its items; -1 for public ones

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: Tensor) -> "Share":
        previous = None if self.previous is None else self.previous[rows]
        return Share(
            self.inputs[rows], self.labels[rows], previous, self.guide[rows], self.items[rows]
        )

    def __add__(self, other: "Share") -> "Share":
        if not len(other):  # of which nothing is known
            return self
        previous = None
        if self.previous is not None and other.previous is not None:
            previous = torch.cat([self.previous, other.previous])
        return Share(
            torch.cat([self.inputs, other.inputs]),
            torch.cat([self.labels, other.labels]),
            previous,
            torch.cat([self.guide, other.guide]),
            torch.cat([self.items, other.items]),
        )


@dataclass
class Steps:
    """How many steps an optimiser was asked for."""

    count: int = 0


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
    taught: Tensor  # class ids that the large side teaches on public items
    generator: torch.Generator
    start: State = field(default_factory=dict)
    """The model as this round began."""
    former: State = field(default_factory=dict)
    """The own model as it ended the previous task; empty in the first one."""
    notes: State = field(default_factory=dict)
    """What the learner itself keeps from round to round and task to task; it may change it."""
    shared: State = field(default_factory=dict)
    """What the fusion sends to everyone: prototypes, say, or synthetic inputs."""
    client: str = ""
    """Who learns."""
    number: int = 1
    """The client's own number of the task."""
    steps: Steps = field(default_factory=Steps, init=False)
    """The steps of this round so far; a batch of the task is a step."""

    @property
    def training(self) -> Training:
        """Return the settings of training."""
        return self.commons.config.training

    def classes(self, which: Literal["seen", "task"]) -> Tensor:
        """Return the ids of all classes seen or of the task's only, its items' included, ascending.

        A task's items may be of other classes than it brings: see ``scenario.history``.
        """
        if which == "seen":
            return self.seen
        classes: Tensor = torch.cat([self.new, self.task.labels]).unique()
        return classes

    @property
    def met(self) -> Tensor:
        """Return the ids of the classes seen that the large side teaches."""
        return self.seen[torch.isin(self.seen, self.taught)]

    def optimiser(self) -> torch.optim.Optimizer:
        """Return a fresh AdamW over the model."""
        settings = self.training
        return adamw(self.model.parameters(), settings.rate, settings.weight_decay)

    def supervised(
        self, embedding: Tensor, labels: Tensor, classes: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss of embeddings ``(B, P)`` with class ids ``(B,)`` as labels.

        Cross entropy over ``classes``, each item with its weight where ``weights (B,)`` are given,
        plus the squared distance to the federation's prototypes where the fusion has any
        (FedProto, AAAI 2022, eq. 6).
        """
        logits = self.commons.logits(embedding, classes)
        loss = cross_entropy(logits, self.columns(labels, classes), weights)
        pull = getattr(self.commons.config.fusion, "pull", 0.0)
        if pull and "prototypes" in self.shared:
            aim = self.shared["prototypes"][labels]
            known = aim.abs().sum(1, keepdim=True) > 0
            loss = loss + pull * ((embedding - aim).square() * known).sum(1).mean()
        return loss

    def relation(self, embedding: Tensor, items: Share) -> Tensor:
        """Return the class-semantic relation loss of labelled items' embeddings ``(B, P)``.

        The aim is each label's vector over the classes seen, with the old classes' places taken
        by what the earlier self says there; classes are judged one by one, with a sigmoid each,
        and summed (GLFC, CVPR 2022).
        """
        aim = F.one_hot(self.columns(items.labels, self.seen), len(self.seen)).float()
        if items.previous is not None:
            then = self.commons.logits(items.previous, self.seen).sigmoid()
            aim = torch.where(torch.isin(self.seen, self.old), then, aim)
        logits = self.commons.logits(embedding, self.seen)
        return F.binary_cross_entropy_with_logits(logits, aim, reduction="none").sum(1).mean()

    def descend(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        """Take one step down the loss, held to the round's start where the fusion is proximal.

        The gradient of ``mu / 2 * |w - w_start|^2`` is added (FedProx, MLSys 2020, eq. 2).
        Raises DivergedError, and takes none, if the loss is not finite.
        """
        require_finite(loss, self.steps.count)
        optimiser.zero_grad()
        loss.backward()
        proximal = getattr(self.commons.config.fusion, "proximal", 0.0)
        if proximal:
            for name, weight in self.model.named_parameters():
                if weight.grad is not None:
                    weight.grad.add_(weight.detach() - self.start[name], alpha=proximal)
        optimiser.step()

    def batches(self) -> Iterator[Share]:
        """Yield the task's items in a new order in every epoch; a last batch of one is dropped."""
        for _ in range(self.training.epochs):
            order = torch.randperm(len(self.task), generator=self.generator)
            if len(order) == 1:
                order = order.repeat(2)  # normalisation layers cannot learn from a single item
            for rows in order.split(self.training.batch):
                if len(rows) > 1:
                    self.steps.count += 1
                    yield self.task[rows.to(self.task.inputs.device)]

    def draw(self, share: Share, size: int) -> Share:
        """Draw items with replacement."""
        rows = torch.randint(len(share), (size,), generator=self.generator)
        return share[rows.to(share.inputs.device)]

    def columns(self, labels: Tensor, classes: Tensor) -> Tensor:
        """Return the places of class ids in an ascending list of classes."""
        return torch.searchsorted(classes, labels)
