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
NOT_FINITE = "its answers on the public set must be finite, found others"


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

    def fault(self, model: nn.Module) -> str | None:
        """Say in words what is wrong with a model that is not finite or gives no finite answers.

        A few public items are enough to tell: None if its answers to these are finite.
        """
        if found := infinity(model.state_dict()):
            return found
        try:
            answers = embed(model, self.public_inputs[:TRIED])
        except Exception as error:  # whatever a model does with weights that are none
            return f"its answers on the public set must be numbers, found {type(error).__name__}"
        if not answers.isfinite().all():
            return NOT_FINITE
        return None

    def logits(self, embedding: Tensor, classes: Tensor) -> Tensor:
        """Return ``tau * <e, a_c>``, ``(B, len(classes))``, of embeddings ``(B, P)``."""
        return embedding @ (self.config.small.temperature * self.anchors[classes]).T
