"""PILoRA (Guo et al., ECCV 2024): prototypes, and low-rank matrices for each task.

Clients: the loss of features f of class y, p_c the prototypes, A_t and B_t the matrices of task t:

    -log softmax_c(-sharpness * |f - p_c|^2)_y + compact * |f - p_y|^2
        + orthogonal * sum_{i < t} |A_i A_t'|

where the FM has ``W + 2 sum_i B_i A_i``, of which only A_t and B_t are trained, and of the
prototypes only those of the task's classes. Both tasks' matrices are parts of one pair: rows of A
and columns of B.

Adapted: f and p_c are scaled to length 1, as for the nearest class mean here, so that the nearest
prototype is found by a product. A class's first prototype is a random direction that all clients
know. The softmax runs over the classes that this client has seen. Matrices are beside queries and
values of all layers (in the public code of the first) and are added up while a task is trained,
too. Left out: the sum of magnitudes of A that the public code adds, and its falling rates.

Server: a class's prototype p_k of client k counts the more, the nearer it is to what everybody's
items are like: ``d_k = sum_j |p_k - f_j|`` with f_j the mean of client j's features of the class,
and

    p = sum_k w_k p_k,   w = softmax(s / 0.2),   s_k = 1 / d_k, stretched to reach from 0 to 1

as in the public code. Adapted: over the clients that have items of the class; the result is scaled
to length 1. The low-rank matrices are averaged by training items.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedbridge.config import Settings
from fedbridge.config.models import TrainedLarge
from fedbridge.config.section import Positive, Weight
from fedbridge.core.losses import cross_entropy
from fedbridge.core.rng import rng_for
from fedbridge.methods.context import SharedContext
from fedbridge.methods.counting import ROUNDING
from fedbridge.methods.probe import Averaged, ReceivedHead
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.methods.spec import Head
from fedbridge.models.fm.tuning import Part
from fedbridge.wire import State, Step, Upload

TEMPERATURE = 0.2


class PILoRA(TrainedLarge):
    """A prototype of each class that clients train, weighed by where items lie (PILoRA)."""

    head: Literal["prototypes"] = "prototypes"
    tuning: Literal["none", "lora"] = "none"
    """What is trained inside the FM itself: nothing, or low-rank matrices beside the queries and
    values of its attention. Each epoch then runs the FM forwards and backwards, and every item is
    encoded anew after every round."""
    tuning_size: Positive = 4
    """Rank of the matrices, which the tasks share: each trains its own part of them."""
    compact: Weight = 0.001
    """Weight of an item's squared distance to its class's prototype."""
    orthogonal: Weight = 0.5
    """Weight of what a task's low-rank matrices have in common with those of earlier tasks; with
    ``tuning = "lora"`` only."""


class Prototypes:
    """The prototypes as one client trains them for one round."""

    tunes = True

    def __init__(
        self, shared: SharedContext, options: PILoRA, head: Tensor, seen: Tensor, step: Step
    ) -> None:
        config = shared.config
        self.epochs, self.lr = options.probe_epochs, options.probe_lr
        self.options, self.seen = options, seen
        self.sharpness = shared.sharpness
        self.task, self.tasks = step.task, config.scenario.slots
        new = [c for c in seen.tolist() if not head[:, c].any()]
        start = head.clone()
        for c in new:
            draw = rng_for(config.seed, "prototype", shared.classes[c]).standard_normal(len(head))
            start[:, c] = torch.from_numpy(draw.astype(np.float32)).to(head.device)
        self.weights = nn.Parameter(F.normalize(start, dim=0))
        self.sums = torch.zeros(len(head) + 1, head.shape[1], device=head.device)

    @property
    def learnt(self) -> list[nn.Parameter]:
        """Return the prototypes ``(M, C)``."""
        return [self.weights]

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the loss of features ``(B, M)`` of classes ``(B,)``."""
        unit = F.normalize(features, dim=1)
        self._note(unit.detach(), labels)
        squared = 2.0 - 2.0 * unit @ F.normalize(self.weights, dim=0)  # (B, C)
        columns = torch.searchsorted(self.seen, labels)
        found = cross_entropy(-self.sharpness * squared[:, self.seen], columns)
        found = found + self.options.compact * squared.gather(1, labels[:, None]).mean()
        return found + self.options.orthogonal * overlap(part, self.task, self.tasks)

    def hold(self, labels: Tensor, part: Part) -> None:
        """Leave other classes' prototypes and other tasks' matrices as they are."""
        assert self.weights.grad is not None
        others = torch.ones(self.weights.shape[1], dtype=torch.bool, device=labels.device)
        others[labels] = False
        self.weights.grad[:, others] = 0.0
        for name, matrix in part.items():
            if matrix.grad is not None:
                ranks = matrix.grad if is_down(name) else matrix.grad.T
                start, end = ranks_of(self.task, self.tasks, len(ranks))
                ranks[:start] = ranks[end:] = 0.0

    def trained(self, features: Callable[[], Tensor], labels: Tensor) -> State:
        """Return the prototypes, and the mean of each class's features, 0 of too few items."""
        counts = self.sums[-1] / self.options.probe_epochs
        means = self.sums[:-1] / self.sums[-1].clamp(min=1.0)
        enough = (counts > 0) & (counts >= self.options.min_class_items)
        return {"head": F.normalize(self.weights, dim=0), "means": means * enough}

    def _note(self, unit: Tensor, labels: Tensor) -> None:
        rows = torch.cat([unit, torch.ones_like(unit[:, :1])], 1)
        self.sums.index_add_(1, labels, rows.T)


def overlap(part: Part, task: int, tasks: int) -> Tensor:
    """Return the sum of magnitudes of ``A_i A_t'`` over all tasks i before t and all layers."""
    total = torch.zeros(())
    for matrix in (matrix for name, matrix in part.items() if is_down(name)):
        start, end = ranks_of(task, tasks, len(matrix))
        total = total + (matrix[:start].detach() @ matrix[start:end].T).abs().sum()
    return total


def ranks_of(task: int, tasks: int, size: int) -> tuple[int, int]:
    """Return where a task's ranks begin and end among all ``size`` of a pair of matrices."""
    return (task - 1) * size // tasks, task * size // tasks


def is_down(name: str) -> bool:
    """Say whether the matrix of this name is an A, ``(rank, in)``, and not a B, ``(out, rank)``."""
    return "lora_A" in name


class Reweighted(Averaged):
    """Prototypes on the FM and, where it is tuned, the trained part of the FM itself."""

    def __init__(self, shared: SharedContext, clients: tuple[str, ...], options: PILoRA) -> None:
        super().__init__(shared, clients, options)
        self._sent: dict[str, list[State]] = {}

    @cached_property
    def trained(self) -> State:
        """Return what the probe has, and the means ``(M, C)`` of classes' features."""
        parts = super().trained
        return parts | {"means": torch.zeros_like(parts["head"])}

    def adapter(self, client: str) -> State:
        """Return the prototypes and the trained part of the FM."""
        return dict(self.parts[self._key(client)])

    def absorb(self, upload: Upload) -> None:
        """Keep a client's prototypes and means; add the rest to the sums."""
        if not upload.adapter or not upload.num_examples:
            return
        self._sent.setdefault(self._key(upload.client), []).append(upload.adapter)
        rest = {k: v for k, v in upload.adapter.items() if k not in ("head", "means")}
        super().absorb(replace(upload, adapter=rest))

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Weigh the prototypes, and average the trained part of the FM."""
        before = {key: part["head"] for key, part in self.parts.items()}
        super().finish_round(models)
        for key, sent in self._sent.items():
            heads, means = (torch.stack([s[name] for s in sent]) for name in ("head", "means"))
            self.parts[key]["head"] = reweighted(before[key], heads, means)
        self._sent = {}
        return []


def reweighted(before: Tensor, heads: Tensor, means: Tensor) -> Tensor:
    """Return prototypes ``(M, C)`` from those of K clients and their classes' means ``(K, M, C)``.

    A class of which nobody has a mean keeps the prototype it had ``before``.
    """
    has = means.abs().sum(1) > 0  # (K, C)
    gaps = torch.zeros(has.shape, dtype=torch.float64)
    for mean, there in zip(means.double(), has, strict=True):
        gaps += there * (heads.double() - mean).norm(dim=1)
    near = 1.0 / gaps.clamp(min=1e-12)
    least = near.masked_fill(~has, torch.inf).amin(0)
    span = near.masked_fill(~has, -torch.inf).amax(0) - least
    scaled = torch.where(span > 0, (near - least) / span, 0.0).masked_fill(~has, -torch.inf)
    weights = (scaled / TEMPERATURE).softmax(0).nan_to_num()  # (K, C)
    mean = F.normalize((weights[:, None] * heads.double()).sum(0), dim=0)
    return torch.where(has.any(0), mean.float(), before)


def upload_faults(upload: Upload, whole: bool, options: PILoRA) -> Iterator[str]:
    """Yield what prototypes, of length 1, and means of vectors of that length cannot be."""
    for name in ("head", "means") if upload.adapter else ():
        lengths = upload.adapter[name].double().norm(dim=0)
        if (lengths > 1 + ROUNDING).any():
            yield f"adapter: {name!r} must not be longer than 1, found {lengths.max():g}"


def every_task_has_a_rank(options: PILoRA, settings: Settings) -> str | None:
    """Say so where there are more tasks than ranks to share out."""
    tasks = settings.scenario.slots
    if not options.tuned or options.tuning_size >= tasks:
        return None
    return (
        f"large.tuning_size: must be at least 1 for each of {tasks} tasks where large.head is "
        f"{options.head!r}, found {options.tuning_size}"
    )


HEAD = Head(
    options=PILoRA,
    client=partial(ReceivedHead, training=Prototypes),
    server=Reweighted,
    upload_faults=upload_faults,
    lr=lambda options: {"probe_lr": options.probe_lr},
    check=every_task_has_a_rank,
)
