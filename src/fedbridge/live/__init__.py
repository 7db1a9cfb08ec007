"""A run as the terminal shows it while it goes."""

from fedbridge.live.display import display

__all__ = ["display"]
