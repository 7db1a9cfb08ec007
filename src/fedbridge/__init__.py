"""fedbridge: federated continual learning in which large and small models help each other.

Importing this loads nothing else; a name is looked up when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedbridge.api import Result, check, compare, load, resume, run
    from fedbridge.errors import UserError
    from fedbridge.predictor import Predictor
    from fedbridge.solo import Client

__version__ = "0.1.0"

__all__ = [
    "Client",
    "Predictor",
    "Result",
    "UserError",
    "check",
    "compare",
    "load",
    "resume",
    "run",
]

_HOMES = {
    "Client": "fedbridge.solo",
    "Predictor": "fedbridge.predictor",
    "UserError": "fedbridge.errors",
}


def __getattr__(name: str) -> Any:
    """Return a public name from the module where it lives."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'fedbridge' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "fedbridge.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
