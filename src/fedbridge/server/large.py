"""What the server asks of a large side, and the large sides there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.server.absent import Absent
from fedbridge.server.analytic import Analytic
from fedbridge.server.averaged import Averaged
from fedbridge.server.fedta import Selected
from fedbridge.server.pilora import Reweighted
from fedbridge.wire import State, Upload


class LargeSide(Protocol):
    """The large model as the server holds it."""

    @property
    def trained(self) -> State:
        """Return arrays of the names, shapes and types that clients train of it and upload."""

    def adapter(self, client: str) -> State:
        """Return what a client needs of it and has not yet; see ``client/head.py``."""

    def absorb(self, upload: Upload) -> None:
        """Take in what one client sends for the large side."""

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Learn from everything that was absorbed and from the small models' answers on U.

        Returns what was not taken as it came.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write all that the next round needs into the folder."""

    def load(self, folder: Path) -> None:
        """Take up what ``save`` wrote."""


LARGE_SIDES: dict[str, Callable[[SharedContext, tuple[str, ...]], LargeSide]] = {
    "analytic": Analytic,
    "nearest-mean": Analytic,
    "probe": Averaged,
    "prototypes": Reweighted,
    "tail-anchors": Selected,
    "none": Absent,
}
"""By ``large.head``."""
