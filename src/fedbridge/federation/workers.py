"""Worker processes that hold what the server or the clients need, and answer requests."""

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from multiprocessing.util import get_temp_dir
from typing import Any, Self, TypeVar, Union

import torch
from threadpoolctl import threadpool_limits

from fedbridge.client.client import FederatedClient
from fedbridge.core.errors import UserError
from fedbridge.methods.context import SharedContext

J = TypeVar("J")
R = TypeVar("R")
MAPPED_FROM, KEPT_UP_TO = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of <malloc.h>


@dataclass(frozen=True)
class WorkerState:
    """What one process holds: the context, and the clients that live there."""

    shared: SharedContext
    clients: dict[str, FederatedClient]


Build = Callable[[tuple[str, ...]], WorkerState]
Worker = Union["_Worker", "_InlineWorker"]
Pending = Union["Future[Any]", "_Deferred"]


class WorkerPool:
    """This process, with 0 workers, or worker processes; name k lives in worker k mod workers."""

    def __init__(self, build: Build, names: tuple[str, ...], workers: int, threads: int) -> None:
        self.names = names
        use_threads(threads)
        hold_memory()
        if workers:  # which then use this process's, which goes even if they are terminated
            get_temp_dir()
        # not forked: a copy of a process with torch's threads may wait for their locks for ever
        context = multiprocessing.get_context("spawn")
        self._hosts: list[Worker] = [_Worker(context, threads) for _ in range(workers)]
        self._hosts = self._hosts or [_InlineWorker()]
        others = set(multiprocessing.active_children())
        with interrupts_held_back():  # for good in workers: this process decides how to end
            self._built = [
                host.build(build, names[w :: len(self._hosts)])
                for w, host in enumerate(self._hosts)
            ]
        self.workers = set(multiprocessing.active_children()) - others

    def submit(self, name: str, function: Callable[..., Any], *args: Any) -> Pending:
        """Call ``function(crew, ...)`` where a name lives; see ``result``."""
        host = self._hosts[self.names.index(name) % len(self._hosts)]
        return host.submit(function, *args)

    def map_jobs(
        self,
        function: Callable[[SharedContext, J], R],
        jobs: list[J],
        tell: Callable[[int, int], None] | None = None,
    ) -> list[R]:
        """Run a pure function on every job, shared out among the hosts, and keep the order.

        ``tell`` is called with how many are done, and of how many.
        """
        hosts = self._hosts
        pending = [
            hosts[i % len(hosts)].submit(_apply, function, job) for i, job in enumerate(jobs)
        ]
        found: list[R] = []
        for one in pending:
            if tell is not None:
                tell(len(found), len(jobs))
            found.append(result(one))
        return found

    def peak_memory_mib(self) -> float:
        """Return the sum of all processes' largest resident sizes."""
        peaks: list[float] = [result(host.submit(_peak)) for host in self._hosts]
        return sum(peaks) + (resident_mib() if self.workers else 0.0)

    def __enter__(self) -> Self:
        try:
            for pending in self._built:
                result(pending)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        if failure[0] is not None:
            for process in self.workers:
                process.terminate()
        for host in self._hosts:  # which waits for its process; two that wait race for its end
            host.shutdown()


def result(pending: Pending) -> Any:
    """Wait for what was asked for; raise UserError if the process died over it."""
    with _dead_worker_told():
        return pending.result()


def use_threads(count: int) -> None:
    """Bound torch's and BLAS's threads: processes side by side must not fight for the cores."""
    torch.set_num_threads(count)
    threadpool_limits(count)


def hold_memory() -> None:
    """Make the C library keep memory that is freed, up to 512 MiB: the next step needs as much.

    Else glibc gives activations back to the system after every step, which then clears every page
    anew. Other C libraries are left as they are.
    """
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(MAPPED_FROM, 32 << 20)  # bytes; the most that every glibc takes
        libc.mallopt(KEPT_UP_TO, 512 << 20)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back meanwhile; processes that are started inherit this."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    """Hosts its crew in a process of its own; a task gets the crew and then its arguments."""

    def __init__(self, context: SpawnContext, threads: int) -> None:
        self._threads = threads
        # a pool of one, so that a client's tasks always reach the process in which it lives
        self._process = ProcessPoolExecutor(1, context, initializer=_watch_parent)

    def build(self, build: Build, names: tuple[str, ...]) -> "Future[Any]":
        return self._process.submit(_move_in, build, names, self._threads)

    def submit(self, task: Callable[..., Any], *args: Any) -> "Future[Any]":
        with _dead_worker_told():
            return self._process.submit(_in_worker, task, *args)

    def shutdown(self) -> None:
        self._process.shutdown(cancel_futures=True)


class _InlineWorker:
    """Hosts its crew in this process, and works only when a result is asked for.

    So uploads are made one at a time, and never lie in memory all at once.
    """

    _state: WorkerState

    def build(self, build: Build, names: tuple[str, ...]) -> "_Deferred":
        return _Deferred(self._move_in, (build, names))

    def submit(self, task: Callable[..., Any], *args: Any) -> "_Deferred":
        return _Deferred(lambda *given: task(self._state, *given), args)

    def shutdown(self) -> None:
        """Nothing runs that could be ended."""

    def _move_in(self, build: Build, names: tuple[str, ...]) -> None:
        self._state = build(names)


@dataclass(frozen=True)
class _Deferred:
    function: Callable[..., Any]
    args: tuple[Any, ...]

    def result(self) -> Any:
        return self.function(*self.args)


_state: WorkerState  # of a worker process, which has one


def _move_in(build: Build, names: tuple[str, ...], threads: int) -> None:
    """Build the clients of a worker process."""
    global _state  # noqa: PLW0603 - the one thing a worker process owns
    use_threads(threads)
    hold_memory()
    _state = build(names)


def _in_worker(task: Callable[..., Any], *args: Any) -> Any:
    return task(_state, *args)


def _watch_parent() -> None:
    """End with the process that started this one, which would wait for its word for ever."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # sys.exit would end this thread alone


def _apply(state: WorkerState, function: Callable[[SharedContext, J], R], job: J) -> R:
    return function(state.shared, job)


def _peak(state: WorkerState) -> float:
    return resident_mib()


def resident_mib() -> float:
    """Return the largest size that this process has had."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


@contextmanager
def _dead_worker_told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "engine.workers: a worker process died (out of memory?); go on with fedbridge "
            "resume, perhaps with fewer workers"
        ) from error
