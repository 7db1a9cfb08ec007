"""One client by itself: it learns from whatever it is given, without a federation."""

from fedbridge.inference.solo.client import Client
from fedbridge.inference.solo.storage import KIND

__all__ = ["KIND", "Client"]
