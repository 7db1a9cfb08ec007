"""What predicts once learning is over: one client's small model, its large side, and both."""

from fedbridge.inference.large import LargePredictor, foundation
from fedbridge.inference.predictor import USING, Predictor, Using, load_predictor
from fedbridge.inference.storage import KIND

__all__ = [
    "KIND",
    "USING",
    "LargePredictor",
    "Predictor",
    "Using",
    "foundation",
    "load_predictor",
]
