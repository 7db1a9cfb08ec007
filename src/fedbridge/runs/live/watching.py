"""Looks over a transport's shoulder: what is exchanged says how a run stands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from fedbridge.federation.loop import Samples, Tell, Transport
from fedbridge.federation.setup import Setup
from fedbridge.methods.context import SharedContext
from fedbridge.runs.live.standing import RunStatus, Seat
from fedbridge.runs.runner import Connect
from fedbridge.server.admission import Refused
from fedbridge.wire import Broadcast, Evaluation, Step, Upload

J = TypeVar("J")
R = TypeVar("R")


def watched(connect: Connect, standing: RunStatus) -> Connect:
    """Return what connects as ``connect`` does and keeps ``standing`` up to date meanwhile."""

    @contextmanager
    def connected(setup: Setup) -> Iterator[Transport]:
        standing.seats = {name: Seat() for name in setup.models}
        standing.enter("starting clients")
        with connect(setup) as transport:
            standing.enter("warm start" if setup.config.starts_warm else "first measurement")
            yield Watched(transport, standing)

    return connected


class Watched:
    """A transport that reports its progress and otherwise forwards to another one."""

    def __init__(self, transport: Transport, standing: RunStatus) -> None:
        self.transport = transport
        self.standing = standing

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        """Let every client learn for one round; yield uploads in the order of ``broadcasts``."""
        for one in broadcasts.values():
            self.standing.learn(Step(one.task, one.round), broadcasts)
            break
        for upload in self.transport.exchange(broadcasts):
            self.standing.uploaded(upload.client, upload.client_task)
            yield upload
        self.standing.fuse()

    def evaluate(self, broadcasts: dict[str, Broadcast], last: bool = False) -> None:
        """Make clients measure what they are sent."""
        self.standing.enter("evaluate")
        self.transport.evaluate(broadcasts, last)

    def take_evaluations(self) -> list[Evaluation]:
        """Return what was measured since the last call."""
        return self.transport.take_evaluations()

    def take_refused(self) -> list[Refused]:
        """Return what could not be taken for an answer since the last call."""
        return self.transport.take_refused()

    def take_traffic(self) -> tuple[int, int, float]:
        """Return bytes up, bytes down and seconds of learning since the last call."""
        return self.transport.take_traffic()

    def map_jobs(
        self, function: Callable[[SharedContext, J], R], jobs: list[J], tell: Tell | None = None
    ) -> list[R]:
        """Run a pure function on every job and keep the order."""
        return self.transport.map_jobs(function, jobs, tell or self.standing.count)

    def save(self, folder: Path) -> None:
        """Write all that the next round needs into the folder."""
        self.standing.enter("save")
        self.transport.save(folder)

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote."""
        self.standing.enter("take up the checkpoint")
        self.transport.load(folder)

    def sample(self, most: int) -> Samples:
        """Return class ids and embeddings of at most so many test items of each client."""
        self.standing.enter("draw the shared space")
        return self.transport.sample(most)

    def peak_memory_mib(self) -> float:
        """Return the largest resident size of the processes it knows of."""
        return self.transport.peak_memory_mib()
