"""The public names, and where they live: read by type checkers, and when a name is first used."""

from .api import Result, check, compare, inspect, load, resume, run
from .bench import Bench
from .cli.listing import available
from .core.errors import UserError
from .deploy.deployment import Deployment
from .inference import Predictor
from .inference.solo import Client
from .report.dashboard.dashboard import Dashboard

__version__: str
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
