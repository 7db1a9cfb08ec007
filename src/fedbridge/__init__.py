"""fedbridge: federated continual learning in which large and small models help each other.

Importing this loads nothing else; a name is looked up when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedbridge.api import Result, check, compare, inspect, load, resume, run
    from fedbridge.bench import Bench
    from fedbridge.dashboard.dashboard import Dashboard
    from fedbridge.deploy.deployment import Deployment
    from fedbridge.errors import UserError
    from fedbridge.listing import available
    from fedbridge.predictor import Predictor
    from fedbridge.solo import Client

__version__ = "0.1.0"

__all__ = [
    "Bench",
    "Client",
    "Dashboard",
    "Deployment",
    "Predictor",
    "Result",
    "UserError",
    "available",
    "check",
    "compare",
    "inspect",
    "load",
    "resume",
    "run",
]

_HOMES = {
    "Bench": "fedbridge.bench",
    "Client": "fedbridge.solo",
    "Dashboard": "fedbridge.dashboard.dashboard",
    "Deployment": "fedbridge.deploy.deployment",
    "Predictor": "fedbridge.predictor",
    "UserError": "fedbridge.errors",
    "available": "fedbridge.listing",
}


def __getattr__(name: str) -> Any:
    """Return a public name from the module where it lives."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'fedbridge' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "fedbridge.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
