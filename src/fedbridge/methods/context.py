"""What methods are given: what every side holds in common, and a client's round of one task."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fedbridge.config import Settings, Training
from fedbridge.core.losses import cross_entropy, require_finite
from fedbridge.core.states import infinity
from fedbridge.methods.exchange import WHOLE, Exchange
from fedbridge.models.calibration import Mixture
from fedbridge.models.fm.foundation import Items
from fedbridge.models.optimiser import adamw
from fedbridge.models.small.space import SmallModel, build_small, embed, initial_seed
from fedbridge.models.statistics import FeatureMap
from fedbridge.wire import State

TRIED = 8
"""Public items that tell whether a model answers at all."""
ANSWERS = "its answers on the public set"


@dataclass(frozen=True)
class SharedContext:
    """Public knowledge; nothing in it was computed from private data."""

    config: Settings
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    anchors: Tensor  # (C, P)
    public_inputs: Tensor  # (|U|, ...)
    public_features: NDArray[np.float32]  # (|U|, M)
    lift: FeatureMap
    device: torch.device
    public_items: Items | None = None
    """The public set as the FM reads it, where it is to be read again."""
    sharpness: float = Mixture.large
    """Factor that makes logits of the large side's scores."""

    def small_model(self, model: str, client: str) -> SmallModel:
        """Build the small model that a client starts from."""
        seed = initial_seed(self.config.seed, client)
        shape, dimension = self.input_shape, self.config.small.dimension
        return build_small(model, shape, dimension, seed).to(self.device)

    def answers(self, model: nn.Module, count: int | None = None) -> tuple[Tensor, str | None]:
        """Return embeddings ``(n, P)`` of the first public items, and what is wrong with the model.

        Nothing is (None) if it holds numbers and its answers are finite; a buffer may be infinite,
        as masks are.
        """
        held: dict[str, Tensor] = dict(model.named_parameters())
        held |= {name: buffer for name, buffer in model.named_buffers() if buffer.isnan().any()}
        if found := infinity(held):
            return self.public_inputs.new_zeros(0), found
        try:
            answers = embed(model, self.public_inputs[:count])
        except Exception as error:  # whatever a model does with weights that are none
            name = type(error).__name__
            return self.public_inputs.new_zeros(0), f"{ANSWERS} must be numbers, found {name}"
        if not answers.isfinite().all():
            return answers, f"{ANSWERS} must be finite, found others"
        return answers, None

    def fault(self, model: nn.Module) -> str | None:
        """Say what is wrong with a model; a few public items are enough to tell."""
        return self.answers(model, TRIED)[1]

    def logits(self, embedding: Tensor, classes: Tensor) -> Tensor:
        """Return ``tau * <e, a_c>``, ``(B, len(classes))``, of embeddings ``(B, P)``."""
        return embedding @ (self.config.small.temperature * self.anchors[classes]).T


@dataclass(frozen=True)
class ItemBatch:
    """Items with everything that is already known of them: labels and both teachers' answers."""

    inputs: Tensor  # (n, ...)
    labels: Tensor  # (n,), class ids; -1 where unknown (public items)
    old_embeddings: (
        Tensor | None
    )  # (n, P), embeddings by the own model as it ended the previous task
    teacher_logits: Tensor  # (n, C), logits of the large side or of its mixture with the own model
    items: Tensor  # (n,), the client's own numbers of its items; -1 for public ones

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: Tensor) -> "ItemBatch":
        previous = None if self.old_embeddings is None else self.old_embeddings[rows]
        return ItemBatch(
            self.inputs[rows],
            self.labels[rows],
            previous,
            self.teacher_logits[rows],
            self.items[rows],
        )

    def __add__(self, other: "ItemBatch") -> "ItemBatch":
        if not len(other):  # of which nothing is known
            return self
        previous = None
        if self.old_embeddings is not None and other.old_embeddings is not None:
            previous = torch.cat([self.old_embeddings, other.old_embeddings])
        return ItemBatch(
            torch.cat([self.inputs, other.inputs]),
            torch.cat([self.labels, other.labels]),
            previous,
            torch.cat([self.teacher_logits, other.teacher_logits]),
            torch.cat([self.items, other.items]),
        )


@dataclass
class Steps:
    """How many steps an optimiser was asked for."""

    count: int = 0


@dataclass(frozen=True)
class TrainContext:
    """One client's round of one task."""

    model: SmallModel
    shared: SharedContext
    task: ItemBatch
    memory: ItemBatch
    public: ItemBatch
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
    received: State = field(default_factory=dict)
    """What the fusion sent to everyone: prototypes, say, or synthetic inputs."""
    client: str = ""
    """Who learns."""
    number: int = 1
    """The client's own number of the task."""
    fusion_loss: Callable[[Tensor, Tensor], Tensor] | None = None
    """The fusion's term in every loss on labels, of embeddings ``(B, P)`` and labels ``(B,)``."""
    proximal: float = 0.0
    """Weight ``mu`` of half the squared distance to the model as the round began."""
    exchange: Exchange = WHOLE
    """How the model travels to and from the fusion that is used."""
    steps: Steps = field(default_factory=Steps, init=False)
    """The steps of this round so far; a batch of the task is a step."""

    @property
    def training(self) -> Training:
        """Return the settings of training."""
        return self.shared.config.training

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
        return adamw(self.model.parameters(), settings.lr, settings.weight_decay)

    def classification_loss(
        self, embedding: Tensor, labels: Tensor, classes: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the mean loss of embeddings ``(B, P)`` with class ids ``(B,)`` as labels.

        Cross entropy over ``classes``, each item with its weight where ``weights (B,)`` are given,
        plus the fusion's own term where it has one.
        """
        logits = self.shared.logits(embedding, classes)
        loss = cross_entropy(logits, self.label_indices(labels, classes), weights)
        return loss if self.fusion_loss is None else loss + self.fusion_loss(embedding, labels)

    def relation(self, embedding: Tensor, items: ItemBatch) -> Tensor:
        """Return the class-semantic relation loss of labelled items' embeddings ``(B, P)``.

        The aim is each label's vector over the classes seen, with the old classes' places taken
        by what the earlier self says there; classes are judged one by one, with a sigmoid each,
        and summed (GLFC, CVPR 2022).
        """
        aim = F.one_hot(self.label_indices(items.labels, self.seen), len(self.seen)).float()
        if items.old_embeddings is not None:
            then = self.shared.logits(items.old_embeddings, self.seen).sigmoid()
            aim = torch.where(torch.isin(self.seen, self.old), then, aim)
        logits = self.shared.logits(embedding, self.seen)
        return F.binary_cross_entropy_with_logits(logits, aim, reduction="none").sum(1).mean()

    def optimizer_step(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        """Take one step down the loss, held to the round's start where the fusion is proximal.

        The gradient of ``mu / 2 * |w - w_start|^2`` is added (FedProx, MLSys 2020, eq. 2).
        Raises DivergedError, and takes none, if the loss is not finite.
        """
        require_finite(loss, self.steps.count)
        optimiser.zero_grad()
        loss.backward()
        if self.proximal:
            for name, weight in self.model.named_parameters():
                if weight.grad is not None:
                    weight.grad.add_(weight.detach() - self.start[name], alpha=self.proximal)
        optimiser.step()

    def batches(self) -> Iterator[ItemBatch]:
        """Yield the task's items in a new order in every epoch; a last batch of one is dropped."""
        for _ in range(self.training.epochs):
            order = torch.randperm(len(self.task), generator=self.generator)
            if len(order) == 1:
                order = order.repeat(2)  # normalisation layers cannot learn from a single item
            for rows in order.split(self.training.batch):
                if len(rows) > 1:
                    self.steps.count += 1
                    yield self.task[rows.to(self.task.inputs.device)]

    def draw(self, items: ItemBatch, size: int) -> ItemBatch:
        """Draw items with replacement; of nothing, nothing."""
        if not len(items):
            return items
        rows = torch.randint(len(items), (size,), generator=self.generator)
        return items[rows.to(items.inputs.device)]

    def label_indices(self, labels: Tensor, classes: Tensor) -> Tensor:
        """Return the places of class ids in an ascending list of classes."""
        return torch.searchsorted(classes, labels)


@dataclass(frozen=True)
class OwnItems:
    """The items that a task brought a client, for what it uploads of them besides its model."""

    shared: SharedContext
    model: SmallModel
    """As it is uploaded."""
    inputs: Tensor  # (n, ...)
    labels: Tensor  # (n,), class ids
