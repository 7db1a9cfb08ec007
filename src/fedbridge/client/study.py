"""What clients train of the large side by gradient in a round, and the simplest of it: a probe."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from fedbridge.losses import cross_entropy
from fedbridge.methods.context import SharedContext
from fedbridge.models.tuning import Part
from fedbridge.wire import State, Step


class Study(Protocol):
    """Something on the FM's features that is trained for one round."""

    tunes: bool
    """Whether the part of the FM that is trained moves with it."""

    @property
    def learnt(self) -> list[nn.Parameter]:
        """Return what moves besides."""

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the loss of features ``(B, M)`` of classes ``(B,)``, and of the FM's part."""

    def hold(self, labels: Tensor, part: Part) -> None:
        """Take the slopes from what must stay, where the round's items are of these classes."""

    def trained(self, features: Callable[[], Tensor], labels: Tensor) -> State:
        """Return what to upload; ``features()`` are those of all items, of classes ``labels``."""


class Probe:
    """A linear probe: cross entropy over the seen classes."""

    tunes = True

    def __init__(self, commons: SharedContext, head: Tensor, seen: Tensor, step: Step) -> None:
        self.seen = seen
        self.weights = nn.Parameter(head * commons.sharpness)

    @property
    def learnt(self) -> list[nn.Parameter]:
        """Return the weights ``(M, C)``."""
        return [self.weights]

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the cross entropy of features ``(B, M)`` of classes ``(B,)``."""
        logits = (features @ self.weights)[:, self.seen]
        return cross_entropy(logits, torch.searchsorted(self.seen, labels))

    def hold(self, labels: Tensor, part: Part) -> None:
        """Let everything move."""

    def trained(self, features: Callable[[], Tensor], labels: Tensor) -> State:
        """Return the head."""
        return {"head": self.weights}
