"""The public names, and where they live: read by type checkers, and when a name is first used."""

from .api import Result, check, compare, inspect, load, resume, run
from .bench import Bench
from .dashboard.dashboard import Dashboard
from .deploy.deployment import Deployment
from .errors import UserError
from .listing import available
from .predictor import Predictor
from .solo import Client

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
