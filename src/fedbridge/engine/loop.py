"""The federated continual loop: it exists once, and every engine runs it."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from fedbridge.config import Config
from fedbridge.server.server import Server
from fedbridge.wire import Broadcast, Step, Upload


class Transport(Protocol):
    """Carries messages between the server and the clients."""

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        """Let every client learn for one round; yield uploads in the order of ``broadcasts``."""
        ...


def steps(config: Config) -> list[Step]:
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
