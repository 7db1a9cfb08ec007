"""The Flower transport: one message per client and exchange, over a simulation or a network.

A client is first to measure what a task has come to, where that is open, and then to learn: an
exchange over a network is costly, and so there is one per round. Whatever is lost is asked again
until the deadline; the same request gets the same answer.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from reprlib import repr as shortened
from typing import Protocol, Self, TypeVar

import torch

from fedbridge.config import Engine
from fedbridge.core.errors import UserError
from fedbridge.core.files import file_name, read_json
from fedbridge.federation.flower.requests import RequestBroker
from fedbridge.federation.flower.roster import Clock, Doubts, Grid, trusting
from fedbridge.federation.loop import Samples, Tell
from fedbridge.federation.workers import WorkerPool
from fedbridge.methods.context import SharedContext
from fedbridge.server.admission import Refused
from fedbridge.wire import (
    Answer,
    Broadcast,
    Evaluation,
    Kind,
    Message,
    Request,
    State,
    Upload,
    decode,
    encode,
)

J = TypeVar("J")
R = TypeVar("R")
STATE = "transport.json"


class Journal(Protocol):
    """What the transport needs of a run: its token, and where to note what happens."""

    @property
    def token(self) -> str:
        """Return what tells this run from all others."""

    @property
    def go_on(self) -> str:
        """Return the command that resumes it."""

    def event(self, kind: str, **fields: object) -> None:
        """Append one event."""


class FlowerTransport:
    """Carries messages to clients that Flower runs, known by their names.

    ``hosts`` holds the context alone, in as many processes as the server may fuse in; ``doubts``
    says what speaks against a node that says it is a client.
    """

    def __init__(
        self,
        grid: Grid,
        run: Journal,
        settings: Engine,
        hosts: WorkerPool,
        clock: Clock = time,
        doubts: Doubts = trusting,
    ) -> None:
        self.run = run
        self.settings = settings
        self.hosts = hosts
        self.clock = clock
        self.names = hosts.names
        self._post = RequestBroker(grid, hosts.names, settings, run.event, clock, doubts)
        self._number = 0
        self._pending: dict[str, Broadcast] = {}  # to be measured with the next exchange
        self._fresh: set[str] = set()  # whose were never sent yet
        self._evaluations: list[Evaluation] = []
        self._traffic = (0, 0, 0.0)

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        """Let every client measure and learn; yield uploads in the order of ``broadcasts``.

        Raises UserError, saying who is missing, if fewer clients than the quorum answer.
        """
        self._number += 1
        requests = self._requests(broadcasts)
        self._fresh = set()
        answered = set()
        start = self.clock.monotonic()
        for name, answer in self._post.gather(requests):
            self._count(seconds=self.clock.monotonic() - start)
            answered.add(name)
            if answer is not None:
                yield from self._open(name, answer, broadcasts)
            start = self.clock.monotonic()
        self._require([name for name in requests if name not in answered], len(requests))

    def evaluate(self, broadcasts: dict[str, Broadcast], last: bool = False) -> None:
        """Make clients measure what they are sent along with the next exchange, or, last, now."""
        self._pending |= broadcasts
        self._fresh = set(broadcasts)
        if last:
            for _ in self.exchange({}):
                raise AssertionError("no client was asked to learn")

    def take_evaluations(self) -> list[Evaluation]:
        """Return what was measured since the last call."""
        taken, self._evaluations = self._evaluations, []
        return taken

    def take_refused(self) -> list[Refused]:
        """Return what could not be taken for an answer since the last call."""
        taken = self._post.refused[:]
        self._post.refused.clear()
        return taken

    def take_traffic(self) -> tuple[int, int, float]:
        """Return bytes up, bytes down and seconds of learning since the last call.

        Counted once, however often it was sent, and as for local clients: what is measured alone
        is no traffic.
        """
        taken, self._traffic = self._traffic, (0, 0, 0.0)
        return taken

    def map_jobs(
        self, function: Callable[[SharedContext, J], R], jobs: list[J], tell: Tell | None = None
    ) -> list[R]:
        """Run a pure function on every job, in the server's own processes, and keep the order."""
        return self.hosts.map_jobs(function, jobs, tell)

    def save(self, folder: Path) -> None:
        """Write what is still to be measured; clients keep their state themselves."""
        for name, broadcast in self._pending.items():
            (folder / f"{file_name(name)}.pending").write_bytes(encode(broadcast))
        state = {
            "number": self._number,
            "pending": list(self._pending),
            "fresh": sorted(self._fresh),
        }
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote."""
        state = read_json(folder / STATE, "state of the transport")
        self._number, self._fresh, self._pending = state["number"], set(state["fresh"]), {}
        for name in state["pending"]:
            message = decode((folder / f"{file_name(name)}.pending").read_bytes(), "Broadcast")
            assert isinstance(message, Broadcast)
            self._pending[name] = message

    def sample(self, most: int) -> Samples:
        """Return nothing: embeddings of single items stay where the items are."""
        return {}

    def peak_memory_mib(self) -> float:
        """Return the sum of the largest resident sizes of the server's processes."""
        return self.hosts.peak_memory_mib()

    def __enter__(self) -> Self:
        self.hosts.__enter__()
        try:
            self._require(self._post.wait(), len(self.names))
        except BaseException as error:
            self.hosts.__exit__(type(error))
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.hosts.__exit__(*failure)

    def _requests(self, broadcasts: dict[str, Broadcast]) -> dict[str, Request]:
        """Return what to ask each client, in the declared order."""
        requests = {}
        for name in [*broadcasts, *(n for n in self._pending if n not in broadcasts)]:
            measure, learn = self._pending.get(name), broadcasts.get(name)
            if measure and learn and name in self._fresh:
                learn = _without(learn, measure)
            parts = [encode(part) if part else b"" for part in (measure, learn)]
            requests[name] = Request(self.run.token, self._number, *parts)
            if learn:
                self._count(down=sum(map(len, parts)))
        return requests

    def _open(
        self, name: str, answer: Answer, broadcasts: dict[str, Broadcast]
    ) -> Iterator[Upload]:
        """Keep an answer's evaluation and yield its upload, each unless it is none."""
        if name in self._pending:
            evaluation = self._read(name, answer.evaluation, "Evaluation")
            if isinstance(evaluation, Evaluation):
                self._evaluations.append(evaluation)
                del self._pending[name]
        if name in broadcasts:
            upload = self._read(name, answer.upload, "Upload")
            if isinstance(upload, Upload):
                self._count(up=len(answer.upload))
                yield upload

    def _read(self, name: str, data: bytes, kind: Kind) -> Message | None:
        """Return a client's message of a kind, None for what is refused."""
        try:
            message = decode(data, kind)
            assert isinstance(message, Upload | Evaluation)
            _require_sender(message.client, name)
        except UserError as error:
            self._post.refused.append(Refused.of(name, str(error)))
            return None
        return message

    def _require(self, missing: list[str], asked: int) -> None:
        """Raise UserError if too few clients are connected."""
        needed = self._post.needed(asked)
        if asked - len(missing) < needed:
            raise UserError(
                f"engine.quorum: {needed} of {asked} clients must answer within engine.deadline = "
                f"{self.settings.deadline:g} s, missing: {', '.join(missing)}; see events.jsonl "
                f"for the reasons; go on with: {self.run.go_on}"
            )

    def _count(self, up: int = 0, down: int = 0, seconds: float = 0.0) -> None:
        self._traffic = (
            self._traffic[0] + up,
            self._traffic[1] + down,
            self._traffic[2] + seconds,
        )


def _without(learn: Broadcast, measure: Broadcast) -> Broadcast:
    """Leave out of one part of a request what the other part has already brought."""
    state = {} if _equal(learn.state, measure.state) else learn.state
    adapter = {} if _equal(learn.adapter, measure.adapter) else learn.adapter
    return replace(learn, state=state, adapter=adapter)


def _equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _require_sender(client: str, name: str) -> None:
    if client != name:
        raise UserError(f"message: must be of {name!r}, found {shortened(client)}")
