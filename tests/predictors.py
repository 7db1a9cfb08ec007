"""Small predictors for tests, made by hand: their weights are drawn, not learnt."""

from typing import Any

import numpy as np
import torch

from fedbridge.core.tokens import LENGTH
from fedbridge.data.readers.reading import Reading
from fedbridge.inference import LargePredictor, Predictor, foundation
from fedbridge.inference.large import FoundationSettings
from fedbridge.models.calibration import Mixture
from fedbridge.models.small.classifier import Classifier
from fedbridge.models.statistics import FeatureMap

CLASSES = ("ant", "bee", "cat")
SIDE = 16
ABOUT: dict[str, Any] = {
    "client": "a",
    "method": "smcf",
    "licences": ["pictures of ours, CC0"],
    "accuracy": {"small": {"tasks": [0.5, 1.0], "items": [4, 4], "mean": 0.75}},
}


def classifier(
    model: str = "mlp",
    shape: tuple[int, ...] = (1, SIDE, SIDE),
    classes: tuple[str, ...] = CLASSES,
) -> Classifier:
    small = Classifier(model, shape, classes, dimension=8, temperature=16.0)
    rows = torch.randn(len(CLASSES), 8, generator=torch.Generator().manual_seed(1))
    small.anchors.copy_(torch.nn.functional.normalize(rows))
    return small.eval()


def large_side() -> LargePredictor:
    settings = FoundationSettings(model="patches", size=SIDE, batch=4)
    fm = foundation("patches", SIDE, torch.device("cpu"), "float32")
    head = torch.randn(fm.dimension, len(CLASSES), generator=torch.Generator().manual_seed(2))
    zeros, ones = np.zeros(fm.dimension, np.float32), np.ones(fm.dimension, np.float32)
    return LargePredictor(
        settings, "float32", 0, fm.fingerprint, FeatureMap(zeros, ones, None), head, {}
    )


def predictor(large: bool = True, model: str = "mlp") -> Predictor:
    """Return a predictor of grey pictures of 16 pixels a side."""
    reading = Reading("image", (1, SIDE, SIDE), (1, SIDE, SIDE))
    side = large_side() if large else None
    small = classifier(model)
    return Predictor(small, reading, Mixture(1.0, 0.5), 2.0, side, dict(ABOUT))


def text_predictor(model: str = "bag", classes: tuple[str, ...] = CLASSES) -> Predictor:
    """Return a predictor of texts without a large side."""
    reading = Reading("text", (LENGTH,))
    return Predictor(
        classifier(model, (LENGTH,), classes), reading, Mixture(), 1.0, None, dict(ABOUT)
    )


def pictures(count: int = 5) -> np.ndarray:
    """Return grey pictures ``(count, 16, 16)``."""
    return np.random.default_rng(3).integers(0, 256, (count, SIDE, SIDE)).astype(np.uint8)
