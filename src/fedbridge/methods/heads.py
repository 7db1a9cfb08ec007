"""What a head of the large side does: on a client, on the server, and where it is trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.models.fm.tuning import Part
from fedbridge.models.statistics import SufficientStatistics
from fedbridge.wire import State, Step, Upload


class TrainableHead(Protocol):
    """Something on the FM's features that a client trains for one round."""

    tunes: bool
    """Whether the part of the FM that is trained moves with it."""
    epochs: int
    """Passes over the task's items."""
    lr: float
    """Learning rate of AdamW."""

    @property
    def learnt(self) -> list[nn.Parameter]:
        """Return what moves besides."""

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the loss of features ``(B, M)`` of classes ``(B,)``, and of the FM's part."""

    def hold(self, labels: Tensor, part: Part) -> None:
        """Take the slopes from what must stay, where the round's items are of these classes."""

    def trained(self, features: Callable[[], Tensor], labels: Tensor) -> State:
        """Return what to upload; ``features()`` are those of all items, of classes ``labels``."""


class ClientHead(Protocol):
    """What a client asks of its head."""

    @property
    def known(self) -> Tensor:
        """Return the classes of which something is known, ascending."""

    @property
    def weights(self) -> Tensor | None:
        """Return W ``(M, C)`` where scores are ``features @ W``, None where they are not."""

    @property
    def settled(self) -> bool:
        """Return whether nothing is left to choose."""

    @property
    def behind(self) -> bool:
        """Return whether what the server sent last gave no head, so that the one before stays."""

    def take(self, adapter: State) -> None:
        """Take in what the server sent of the large side."""

    def scores(self, features: Tensor) -> Tensor:
        """Return scores ``(n, C)`` of features ``(n, M)``; 0 for a class that is not known."""

    def add(self, sums: SufficientStatistics) -> None:
        """Add the client's own sums of a new task."""

    def trainable(self, labels: Tensor, seen: Tensor, step: Step) -> list[TrainableHead]:
        """Return what is trained by gradient on a task's items, of classes ``labels``, if any."""

    def select_hyperparameters(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
        """Choose what is open on validation features ``(n, M)`` of classes among ``seen``."""

    def state(self) -> State:
        """Return all that the next round needs."""

    def load(self, state: State) -> None:
        """Take up what ``state`` returned."""


class ServerHead(Protocol):
    """The large side as the server holds it."""

    @property
    def trained(self) -> State:
        """Return arrays of the names, shapes and types that clients train of it and upload."""

    def adapter(self, client: str) -> State:
        """Return what a client's head needs of it and has not yet."""

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
