"""A run as the terminal shows it while it goes."""

from fedbridge.runs.live.display import display, logged, saying, told
from fedbridge.runs.live.lines import patient

__all__ = ["display", "logged", "patient", "saying", "told"]
