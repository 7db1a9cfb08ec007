"""The shared space: every small model maps into it, and fixed anchors name its classes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fedbridge.core.entries import foreign_errors
from fedbridge.core.rng import rng_for, seed_for
from fedbridge.models import SMALL_MODELS, build_backbone


class SmallModel(nn.Module):
    """``backbone -> projector -> unit sphere in R^P``, for any backbone with ``features``."""

    def __init__(self, backbone: nn.Module, dimension: int, foreign: str = "") -> None:
        super().__init__()
        self.foreign = foreign
        """Its name in the config where it is a user's own, for errors that it raises."""
        self.backbone = backbone
        self.projector = nn.Linear(int(backbone.features), dimension)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs ``(B, ...)`` to unit vectors ``(B, P)``."""
        return F.normalize(self.projector(self._features(x)), dim=1)

    def _features(self, x: Tensor) -> Tensor:
        if not self.foreign or torch.compiler.is_exporting():
            features: Tensor = self.backbone(x)
            return features
        with foreign_errors(f"{self.foreign}, given {tuple(x.shape)},", "small.models"):
            features = self.backbone(x)
        return features


def build_small(name: str, input_shape: tuple[int, ...], dimension: int, seed: int) -> SmallModel:
    """Build an entry of SMALL_MODELS with a projector, initialised from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_backbone(name, input_shape)
        return SmallModel(backbone, dimension, "" if name in SMALL_MODELS else name)


def initial_seed(seed: int, client: str) -> int:
    """Return the seed from which a client's small model is initialised."""
    return seed_for(seed, "initialise", client)


def anchors(classes: tuple[str, ...], dimension: int, seed: int) -> Tensor:
    """Return the anchors ``(C, P)``: unit vectors, each a function of (seed, class name) alone.

    Independent Gaussian directions are near-orthonormal: their cosines have deviation
    ``P ** -0.5``. A class that is met later never moves one that is known.
    """
    rows = [rng_for(seed, "anchor", name).standard_normal(dimension) for name in classes]
    return F.normalize(torch.from_numpy(np.stack(rows)), dim=1).float()


def as_input(inputs: NDArray[np.uint8] | NDArray[np.uint16] | Tensor) -> Tensor:
    """Turn stored inputs into what a backbone reads: images to [0, 1], token ids to int64."""
    x = inputs if isinstance(inputs, Tensor) else stored(inputs)
    return x.float() / 255.0 if x.dtype == torch.uint8 else x.long()


def stored(inputs: NDArray[np.uint8] | NDArray[np.uint16]) -> Tensor:
    """Copy stored inputs into a compact tensor: uint8 images or int32 token ids."""
    if inputs.dtype == np.uint8:
        return torch.from_numpy(np.array(inputs))
    return torch.from_numpy(inputs.astype(np.int32))


@torch.no_grad()
def embed(model: nn.Module, inputs: Tensor, batch: int = 256) -> Tensor:
    """Embed stored inputs ``(n, ...)`` with a model in evaluation mode; return ``(n, P)``."""
    training = model.training
    model.eval()
    parts = [model(as_input(part)).float() for part in inputs.split(batch)]
    model.train(training)
    return torch.cat(parts)
