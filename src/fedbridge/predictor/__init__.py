"""What predicts once learning is over: one client's small model, its large side, and both."""

from fedbridge.predictor.large import LargePredictor, foundation
from fedbridge.predictor.predictor import USING, Predictor, Using, load_predictor
from fedbridge.predictor.storage import KIND

__all__ = [
    "KIND",
    "USING",
    "LargePredictor",
    "Predictor",
    "Using",
    "foundation",
    "load_predictor",
]
