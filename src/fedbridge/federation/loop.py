"""The federated continual loop: it exists once, and every engine runs it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from fedbridge.config import Settings
from fedbridge.core.projection import Sample
from fedbridge.methods.context import SharedContext
from fedbridge.server.admission import Refused
from fedbridge.server.server import Server
from fedbridge.wire import Broadcast, Evaluation, Step, Upload

J = TypeVar("J")
R = TypeVar("R")
Tell = Callable[[int, int], None]
"""Called with (done, wanted) while work is in progress."""
Samples = dict[str, Sample]
"""Class ids and embeddings in the shared space, by client."""


class Transport(Protocol):
    """Carries messages between the server and the clients."""

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        """Let every client learn for one round; yield uploads in the order of ``broadcasts``."""
        ...

    def evaluate(self, broadcasts: dict[str, Broadcast], last: bool = False) -> None:
        """Make clients measure what they are sent: at once, or along with the next exchange.

        With ``last`` no exchange follows.
        """

    def take_evaluations(self) -> list[Evaluation]:
        """Return what was measured since the last call."""
        ...

    def take_refused(self) -> list[Refused]:
        """Return what could not be taken for an answer since the last call."""
        ...

    def take_traffic(self) -> tuple[int, int, float]:
        """Return bytes up, bytes down and seconds of learning since the last call."""
        ...

    def map_jobs(
        self, function: Callable[[SharedContext, J], R], jobs: list[J], /, tell: Tell | None = None
    ) -> list[R]:
        """Run a pure function on every job, in one or more processes, and keep the order."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that the next round needs into the folder."""

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote."""

    def sample(self, most: int) -> Samples:
        """Return class ids and embeddings of at most so many test items of each client.

        Nothing where clients are elsewhere: such things are no message.
        """
        ...

    def peak_memory_mib(self) -> float:
        """Return the largest resident size of the processes it knows of."""
        ...


def steps(config: Settings) -> list[Step]:
    """Return every (task, round) of an experiment, in order."""
    tasks, rounds = config.scenario.slots, config.training.rounds
    return [Step(t, r) for t in range(1, tasks + 1) for r in range(1, rounds + 1)]


def federate(server: Server, transport: Transport, todo: Iterable[Step]) -> Iterator[Step]:
    """Run the federation step by step; yield each step when the server has finished it."""
    for step in todo:
        for upload in transport.exchange(server.broadcast(step)):
            server.absorb(upload)
        server.finish_round(step)
        yield step
