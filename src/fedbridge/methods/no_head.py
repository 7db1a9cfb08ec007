"""No large side: the null object that leaves the small models to themselves."""

from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fedbridge.config.models import Large
from fedbridge.methods.context import SharedContext
from fedbridge.methods.heads import TrainableHead
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.methods.spec import Head
from fedbridge.models.statistics import SufficientStatistics
from fedbridge.wire import State, Step, Upload


class NoLarge(Large):
    """No large side at all: the FM reads nothing."""

    embeds: ClassVar[bool] = False
    head: Literal["none"] = "none"


class NoHead:
    """On a client: knows no class, and scores every one 0."""

    settled = True
    behind = False
    weights = None

    def __init__(self, shared: SharedContext, options: Large) -> None:
        self.classes = len(shared.classes)
        self.known = torch.zeros(0, dtype=torch.int64, device=shared.device)

    def take(self, adapter: State) -> None:
        """Take nothing."""

    def scores(self, features: Tensor) -> Tensor:
        """Return zeros ``(n, C)``."""
        return features.new_zeros(len(features), self.classes)

    def add(self, sums: SufficientStatistics) -> None:
        """Leave sums alone."""

    def trainable(self, labels: Tensor, seen: Tensor, step: Step) -> list[TrainableHead]:
        """Return nothing."""
        return []

    def select_hyperparameters(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
        """Choose nothing."""

    def state(self) -> State:
        """Return nothing."""
        return {}

    def load(self, state: State) -> None:
        """Take up nothing."""


class NothingHeld:
    """On the server: sends nothing, learns nothing and has nothing to save."""

    def __init__(self, shared: SharedContext, clients: tuple[str, ...], options: Large) -> None:
        self.trained: State = {}

    def adapter(self, client: str) -> State:
        """Return nothing."""
        return {}

    def absorb(self, upload: Upload) -> None:
        """Take nothing from an upload."""

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Learn nothing."""
        return []

    def save(self, folder: Path) -> None:
        """Write nothing."""

    def load(self, folder: Path) -> None:
        """Read nothing."""


HEAD = Head(options=NoLarge, client=NoHead, server=NothingHeld, solo=True)
