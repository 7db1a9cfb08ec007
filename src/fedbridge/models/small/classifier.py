"""A small model with the anchors of its classes: what runs where nothing else of fedbridge does."""

import torch
from torch import Tensor, nn

from fedbridge.models.small.space import build_small


class Classifier(nn.Module):
    """Maps inputs of a small model to scores of classes, whose softmax are probabilities."""

    def __init__(
        self,
        model: str,
        input_shape: tuple[int, ...],
        classes: tuple[str, ...],
        dimension: int,
        temperature: float,
    ) -> None:
        """Build an entry of SMALL_MODELS without knowledge: anchors ``(C, P)`` are all zero.

        Raises UserError if the entry is unknown or cannot read inputs of this shape.
        """
        super().__init__()
        self.model = model
        self.input_shape = tuple(input_shape)
        self.classes = tuple(classes)
        self.temperature = float(temperature)
        self.embedder = build_small(model, self.input_shape, dimension, seed=0)
        self.anchors = nn.Buffer(torch.zeros(len(self.classes), dimension))

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures ``(B, C, S, S)`` in [0, 1], or token ids ``(B, L)``, to ``(B, classes)``."""
        return self.score(self.embedder(x))

    def score(self, embedding: Tensor) -> Tensor:
        """Return ``tau * <e, a_c>`` of embeddings ``(B, P)``."""
        return embedding @ (self.temperature * self.anchors).T
