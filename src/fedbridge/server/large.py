"""What the server asks of a large side, and the large sides there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor

from fedbridge.models.commons import Commons
from fedbridge.server.absent import Absent
from fedbridge.server.analytic import Analytic
from fedbridge.server.knowledge import Knowledge
from fedbridge.wire import State, Upload


class LargeSide(Protocol):
    """The large model as the server holds it; ``""`` stands for any client."""

    @property
    def sharpness(self) -> float:
        """Return the factor on scores that makes them logits."""

    def heads(self, client: str) -> Tensor:
        """Return the candidate heads ``(L, M, C)`` for a client; the first one is in force."""

    def adapter(self, client: str) -> State:
        """Return the part that clients train by gradient, where there is one."""

    def absorb(self, upload: Upload) -> None:
        """Take in what one client sends for the large side."""

    def finish_round(self, models: list[Knowledge]) -> None:
        """Learn from everything that was absorbed and from the small models' answers on U."""

    def scores(self, client: str) -> Tensor:
        """Return the scores of the public set ``(|U|, C)``."""

    def save(self, folder: Path) -> None:
        """Write all that the next round needs into the folder."""

    def load(self, folder: Path) -> None:
        """Take up what ``save`` wrote."""


LARGE_SIDES: dict[str, Callable[[Commons, tuple[str, ...]], LargeSide]] = {
    "analytic": Analytic,
    "nearest-mean": Analytic,
    "none": Absent,
}
"""By ``large.head``."""
