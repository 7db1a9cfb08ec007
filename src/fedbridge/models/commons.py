"""What every side of the federation holds in common: settings, classes, anchors, public set."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedbridge.config import Config
from fedbridge.models.foundation import Items
from fedbridge.models.head import Lift
from fedbridge.models.space import SmallModel, build_small, embed, initial_seed
from fedbridge.models.states import infinity

TRIED = 8
"""Public items that tell whether a model answers at all."""
ANSWERS = "its answers on the public set"


@dataclass(frozen=True)
class Commons:
    """Public knowledge; nothing in it was computed from private data."""

    config: Config
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    anchors: Tensor  # (C, P)
    public_inputs: Tensor  # (|U|, ...)
    public_features: NDArray[np.float32]  # (|U|, M)
    lift: Lift
    device: torch.device
    public_items: Items | None = None
    """The public set as the FM reads it, where it is to be read again."""

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
        """Return what is wrong with a model; a few public items are enough to tell."""
        return self.answers(model, TRIED)[1]

    def logits(self, embedding: Tensor, classes: Tensor) -> Tensor:
        """Return ``tau * <e, a_c>``, ``(B, len(classes))``, of embeddings ``(B, P)``."""
        return embedding @ (self.config.small.temperature * self.anchors[classes]).T
