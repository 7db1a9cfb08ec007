"""No large side: the null object that leaves the small models to themselves."""

from pathlib import Path

from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.wire import State, Upload


class Absent:
    """Sends nothing, learns nothing and has nothing to save."""

    def __init__(self, commons: SharedContext, clients: tuple[str, ...]) -> None:
        self.commons = commons
        self.trained: State = {}

    def adapter(self, client: str) -> State:
        """Return nothing."""
        return {}

    def absorb(self, upload: Upload) -> None:
        """Take nothing from an upload."""

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Learn nothing."""
        return []

    def save(self, folder: Path) -> None:
        """Write nothing."""

    def load(self, folder: Path) -> None:
        """Read nothing."""
