"""A run as the terminal shows it while it goes."""

from fedbridge.live.display import display, logged, saying, told

__all__ = ["display", "logged", "saying", "told"]
