"""The clients' part of PILoRA (Guo et al., ECCV 2024): prototypes, and low-rank matrices per task.

The loss of features f of class y, p_c the prototypes, A_t and B_t the matrices of task t:

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
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedbridge.losses import cross_entropy
from fedbridge.methods.context import SharedContext
from fedbridge.models.tuning import Part
from fedbridge.rng import rng_for
from fedbridge.wire import State, Step


class Prototypes:
    """The prototypes as one client trains them for one round."""

    tunes = True

    def __init__(self, commons: SharedContext, head: Tensor, seen: Tensor, step: Step) -> None:
        config = commons.config
        self.settings, self.seen = config.large, seen
        self.sharpness = commons.sharpness
        self.task, self.tasks = step.task, config.scenario.slots
        new = [c for c in seen.tolist() if not head[:, c].any()]
        start = head.clone()
        for c in new:
            draw = rng_for(config.seed, "prototype", commons.classes[c]).standard_normal(len(head))
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
        found = found + self.settings.compact * squared.gather(1, labels[:, None]).mean()
        return found + self.settings.orthogonal * overlap(part, self.task, self.tasks)

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
        counts = self.sums[-1] / self.settings.probe_epochs
        means = self.sums[:-1] / self.sums[-1].clamp(min=1.0)
        enough = (counts > 0) & (counts >= self.settings.least)
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
