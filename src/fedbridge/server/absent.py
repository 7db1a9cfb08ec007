"""No large side: the null object that leaves the small models to themselves."""

from pathlib import Path

import torch
from torch import Tensor

from fedbridge.models.commons import Commons
from fedbridge.server.knowledge import Knowledge
from fedbridge.wire import State, Upload


class Absent:
    """Knows no class, learns nothing and has nothing to save."""

    sharpness = 1.0

    def __init__(self, commons: Commons, clients: tuple[str, ...]) -> None:
        self.commons = commons

    def heads(self, client: str) -> Tensor:
        """Return one head ``(1, M, C)`` of zeros, which stands for not knowing."""
        return torch.zeros(1, self.commons.lift.dimension, len(self.commons.classes))

    def adapter(self, client: str) -> State:
        """Return nothing."""
        return {}

    def absorb(self, upload: Upload) -> None:
        """Take nothing from an upload."""

    def finish_round(self, models: list[Knowledge]) -> None:
        """Learn nothing."""

    def scores(self, client: str = "") -> Tensor:
        """Return scores of the public set ``(|U|, C)`` that say nothing."""
        return torch.zeros(len(self.commons.public_inputs), len(self.commons.classes))

    def save(self, folder: Path) -> None:
        """Write nothing."""

    def load(self, folder: Path) -> None:
        """Read nothing."""
