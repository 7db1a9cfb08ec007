"""The local transport: clients in this process or in worker processes, the same numbers both ways.

Every message goes through ``wire``, so that what is counted and what arrives is what a network
would carry.
"""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Self, TypeVar, Union

import torch
from threadpoolctl import threadpool_limits

from fedbridge.client.client import Client
from fedbridge.errors import UserError
from fedbridge.models.commons import Commons
from fedbridge.wire import Broadcast, Evaluation, Upload, decode, encode

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Crew:
    """The clients that one process hosts."""

    commons: Commons
    clients: dict[str, Client]


Build = Callable[[tuple[str, ...]], Crew]
Host = Union["_Worker", "_Here"]


class LocalTransport:
    """Hosts all clients; with 0 workers in this process, else client k in worker k mod workers."""

    def __init__(self, build: Build, names: tuple[str, ...], workers: int, threads: int) -> None:
        self.names = names
        self.bytes_up = 0
        self.bytes_down = 0
        self.seconds_learning = 0.0
        _use_threads(threads)
        context = multiprocessing.get_context("spawn")
        self._hosts: list[Host] = [_Worker(context, threads) for _ in range(workers)]
        self._hosts = self._hosts or [_Here()]
        others = set(multiprocessing.active_children())
        with _interrupts_held_back():  # for good in workers: this process decides how to end
            self._built = [
                host.build(build, names[w :: len(self._hosts)])
                for w, host in enumerate(self._hosts)
            ]
        self._workers = set(multiprocessing.active_children()) - others

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

    def evaluate(self, broadcasts: dict[str, Broadcast]) -> Iterator[Evaluation]:
        """Let every client measure what it was sent; the bytes are not counted as traffic."""
        before = self.bytes_down
        for data in self._everywhere(_evaluate, broadcasts):
            message = decode(data, "Evaluation")
            assert isinstance(message, Evaluation)
            yield message
        self.bytes_down = before

    def take_traffic(self) -> tuple[int, int, float]:
        """Return bytes up, bytes down and seconds of learning since the last call."""
        taken = (self.bytes_up, self.bytes_down, self.seconds_learning)
        self.bytes_up, self.bytes_down, self.seconds_learning = 0, 0, 0.0
        return taken

    def spread(self, function: Callable[[Commons, J], R], jobs: list[J]) -> list[R]:
        """Run a pure function on every job, shared out among the hosts, and keep the order."""
        hosts = self._hosts
        futures = [
            hosts[i % len(hosts)].submit(_apply, function, job) for i, job in enumerate(jobs)
        ]
        return [_result(future) for future in futures]

    def save(self, folder: Path) -> None:
        """Let every client write its state into the folder."""
        self._all(_save, folder)

    def load(self, folder: Path) -> None:
        """Let every client take up its state from the folder."""
        self._all(_load, folder)

    def peak_memory_mib(self) -> float:
        """Return the sum of all processes' largest resident sizes."""
        peaks: list[float] = [_result(host.submit(_peak)) for host in self._hosts]
        return sum(peaks) + (_resident_mib() if self._workers else 0.0)

    def __enter__(self) -> Self:
        try:
            for future in self._built:
                _result(future)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        hurry = failure[0] is not None
        for host in self._hosts:
            host.shutdown(hurry)
        if hurry:
            for process in self._workers:
                process.terminate()
                process.join()

    def _everywhere(
        self, task: Callable[[Crew, str, bytes], bytes], broadcasts: dict[str, Broadcast]
    ) -> Iterator[bytes]:
        futures = []
        for name, broadcast in broadcasts.items():
            data = encode(broadcast)
            self.bytes_down += len(data)
            futures.append(self._host_of(name).submit(task, name, data))
        for future in futures:
            yield _result(future)

    def _all(self, task: Callable[[Crew, str, Path], None], folder: Path) -> None:
        for future in [self._host_of(n).submit(task, n, folder) for n in self.names]:
            _result(future)

    def _host_of(self, name: str) -> Host:
        return self._hosts[self.names.index(name) % len(self._hosts)]


class _Worker:
    """Hosts its crew in a process of its own; a task gets the crew and then its arguments."""

    def __init__(self, context: SpawnContext, threads: int) -> None:
        self._threads = threads
        self._process = ProcessPoolExecutor(1, context)

    def build(self, build: Build, names: tuple[str, ...]) -> "Future[Any]":
        return self._process.submit(_move_in, build, names, self._threads)

    def submit(self, task: Callable[..., Any], *args: Any) -> "Future[Any]":
        with _dead_worker_told():
            return self._process.submit(_in_worker, task, *args)

    def shutdown(self, hurry: bool) -> None:
        self._process.shutdown(wait=not hurry, cancel_futures=True)


class _Here:
    """Hosts its crew in this process, and works only when a result is asked for."""

    _crew: Crew

    def build(self, build: Build, names: tuple[str, ...]) -> "_Later":
        return _Later(self._move_in, (build, names))

    def submit(self, task: Callable[..., Any], *args: Any) -> "_Later":
        return _Later(lambda *given: task(self._crew, *given), args)

    def shutdown(self, hurry: bool) -> None:
        """Nothing runs that could be ended."""

    def _move_in(self, build: Build, names: tuple[str, ...]) -> None:
        self._crew = build(names)


@dataclass(frozen=True)
class _Later:
    function: Callable[..., Any]
    args: tuple[Any, ...]

    def result(self) -> Any:
        return self.function(*self.args)


_crew: Crew  # of a worker process, which has one


def _move_in(build: Build, names: tuple[str, ...], threads: int) -> None:
    """Build the clients of a worker process."""
    global _crew  # noqa: PLW0603 - the one thing a worker process owns
    _use_threads(threads)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _crew = build(names)


def _in_worker(task: Callable[..., Any], *args: Any) -> Any:
    return task(_crew, *args)


def _use_threads(count: int) -> None:
    """Bound torch's and BLAS's threads: processes side by side must not fight for the cores."""
    torch.set_num_threads(count)
    threadpool_limits(count)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _learn(crew: Crew, name: str, data: bytes) -> bytes:
    message = decode(data, "Broadcast")
    assert isinstance(message, Broadcast)
    return encode(crew.clients[name].learn(message))


def _evaluate(crew: Crew, name: str, data: bytes) -> bytes:
    message = decode(data, "Broadcast")
    assert isinstance(message, Broadcast)
    return encode(crew.clients[name].evaluate(message))


def _save(crew: Crew, name: str, folder: Path) -> None:
    crew.clients[name].save(folder)


def _load(crew: Crew, name: str, folder: Path) -> None:
    crew.clients[name].load(folder)


def _apply(crew: Crew, function: Callable[[Commons, J], R], job: J) -> R:
    return function(crew.commons, job)


def _peak(crew: Crew) -> float:
    return _resident_mib()


def _resident_mib() -> float:
    """Return the largest size that this process has had."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _result(future: "Future[Any] | _Later") -> Any:
    with _dead_worker_told():
        return future.result()


@contextmanager
def _dead_worker_told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "engine.workers: a worker process died (out of memory?); go on with fedbridge "
            "resume, perhaps with fewer workers"
        ) from error


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back meanwhile; processes that are started inherit this."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
