"""A predictor as a service: a small FastAPI application with limits, health and metrics."""

from fedbridge.inference.serving.app import create_app
from fedbridge.inference.serving.limits import Limits, limits_of

__all__ = ["Limits", "create_app", "limits_of"]
