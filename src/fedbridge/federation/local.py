"""The local transport: clients in this process or in worker processes, the same numbers both ways.

Every message goes through ``wire``, so that what is counted and what arrives is what a network
would carry.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

from fedbridge.core.projection import Sample
from fedbridge.federation.loop import Samples, Tell
from fedbridge.federation.workers import Build, WorkerPool, WorkerState, result
from fedbridge.methods.context import SharedContext
from fedbridge.server.admission import Refused
from fedbridge.wire import Broadcast, Evaluation, Upload, decode, encode

J = TypeVar("J")
R = TypeVar("R")


class LocalTransport:
    """Hosts all clients; with 0 workers in this process, else client k in worker k mod workers."""

    def __init__(self, build: Build, names: tuple[str, ...], workers: int, threads: int) -> None:
        self.names = names
        self.hosts = WorkerPool(build, names, workers, threads)
        self.bytes_up = 0
        self.bytes_down = 0
        self.seconds_learning = 0.0
        self._evaluations: list[Evaluation] = []

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        """Let every client learn for one round; yield uploads in the order of ``broadcasts``."""
        start = time.monotonic()
        for data in self._everywhere(_learn, broadcasts):
            self.seconds_learning += time.monotonic() - start
            self.bytes_up += len(data)
            message = decode(data, "Upload")
            assert isinstance(message, Upload)
            yield message
            start = time.monotonic()

    def evaluate(self, broadcasts: dict[str, Broadcast], last: bool = False) -> None:
        """Let every client measure what it was sent; the bytes are not counted as traffic."""
        before = self.bytes_down
        for data in self._everywhere(_evaluate, broadcasts):
            message = decode(data, "Evaluation")
            assert isinstance(message, Evaluation)
            self._evaluations.append(message)
        self.bytes_down = before

    def take_evaluations(self) -> list[Evaluation]:
        """Return what was measured since the last call."""
        taken, self._evaluations = self._evaluations, []
        return taken

    def take_traffic(self) -> tuple[int, int, float]:
        """Return bytes up, bytes down and seconds of learning since the last call."""
        taken = (self.bytes_up, self.bytes_down, self.seconds_learning)
        self.bytes_up, self.bytes_down, self.seconds_learning = 0, 0, 0.0
        return taken

    def take_refused(self) -> list[Refused]:
        """Return nothing: whatever comes from here can be read."""
        return []

    def map_jobs(
        self, function: Callable[[SharedContext, J], R], jobs: list[J], tell: Tell | None = None
    ) -> list[R]:
        """Run a pure function on every job, shared out among the hosts, and keep the order."""
        return self.hosts.map_jobs(function, jobs, tell)

    def save(self, folder: Path) -> None:
        """Let every client write its state into the folder."""
        self._all(_save, folder)

    def load(self, folder: Path) -> None:
        """Let every client restore its state from the folder."""
        self._all(_load, folder)

    def sample(self, most: int) -> Samples:
        """Return class ids and embeddings of at most so many test items of each client."""
        pending = {name: self.hosts.submit(name, _sample, name, most) for name in self.names}
        return {name: result(one) for name, one in pending.items()}

    def peak_memory_mib(self) -> float:
        """Return the sum of all processes' largest resident sizes."""
        return self.hosts.peak_memory_mib()

    def __enter__(self) -> Self:
        self.hosts.__enter__()
        return self

    def __exit__(self, *failure: object) -> None:
        self.hosts.__exit__(*failure)

    def _everywhere(
        self, task: Callable[[WorkerState, str, bytes], bytes], broadcasts: dict[str, Broadcast]
    ) -> Iterator[bytes]:
        pending = []
        for name, broadcast in broadcasts.items():
            # as bytes even within one process: all engines see the same numbers and traffic
            data = encode(broadcast)
            self.bytes_down += len(data)
            pending.append(self.hosts.submit(name, task, name, data))
        for one in pending:
            yield result(one)

    def _all(self, task: Callable[[WorkerState, str, Path], None], folder: Path) -> None:
        for pending in [self.hosts.submit(n, task, n, folder) for n in self.names]:
            result(pending)


def _learn(state: WorkerState, name: str, data: bytes) -> bytes:
    message = decode(data, "Broadcast")
    assert isinstance(message, Broadcast)
    return encode(state.clients[name].learn(message))


def _evaluate(state: WorkerState, name: str, data: bytes) -> bytes:
    message = decode(data, "Broadcast")
    assert isinstance(message, Broadcast)
    return encode(state.clients[name].evaluate(message))


def _save(state: WorkerState, name: str, folder: Path) -> None:
    state.clients[name].save(folder)


def _load(state: WorkerState, name: str, folder: Path) -> None:
    state.clients[name].load(folder)


def _sample(state: WorkerState, name: str, most: int) -> Sample:
    return state.clients[name].sample(most)
