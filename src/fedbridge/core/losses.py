"""Distillation losses and weights as pure functions; reductions are left to the caller."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


class DivergedError(ArithmeticError):
    """What was trained ceased to be finite at a step of its optimiser, counted from 1."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def require_finite(loss: Tensor, step: int) -> None:
    """Raise DivergedError if the loss of a step is no finite number."""
    if not math.isfinite(loss.item()):
        raise DivergedError(step)


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(teacher || student) per item, ``(B,)``, from two logit arrays ``(B, C)``."""
    # from logarithms: probabilities that underflow would make log(0) * 0
    target = teacher.log_softmax(1)
    return (target.exp() * (target - student.log_softmax(1))).sum(1)


def distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Return one minus the cosine per item, ``(B,)``, of unit vectors ``(B, P)``."""
    return 1.0 - (teacher * student).sum(1)


def confidence(logits: Tensor) -> Tensor:
    """Return one minus the normalised entropy per item, ``(B,)`` in [0, 1], of logits ``(B, C)``.

    A model that knows a single class is never surprised and counts as unsure (0).
    """
    if logits.shape[1] < 2:
        return torch.zeros(len(logits), device=logits.device)
    log_p = logits.log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    # clamped: rounding can put the entropy of equal scores above its maximum
    return (1.0 - entropy / math.log(logits.shape[1])).clamp(0.0, 1.0)


def mass_on(logits: Tensor, columns: Tensor) -> Tensor:
    """Return the probability per item, ``(B,)``, that logits ``(B, C)`` put on some columns."""
    return logits.softmax(1)[:, columns].sum(1)


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean cross entropy of logits ``(B, C)`` and column labels ``(B,)``.

    With ``weights (B,)`` each item's share is multiplied by its own, and the sum still divided
    by B.
    """
    if weights is None:
        return F.cross_entropy(logits, labels)
    return (weights * F.cross_entropy(logits, labels, reduction="none")).mean()
