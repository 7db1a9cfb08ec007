"""One client by itself: it learns from whatever it is given, without a federation."""

from fedbridge.solo.client import Client
from fedbridge.solo.storage import KIND

__all__ = ["KIND", "Client"]
