"""A Flower grid in memory that delays, loses and doubles, in a time that only it lets pass."""

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

UNAVAILABLE, RAISED = 5, 2
SLOW = 1250.0
"""Seconds after which a client has been asked again."""


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Fate:
    """What befalls one message: seconds until its replies come, or an error instead of them."""

    replies: tuple[float, ...] = (0.1,)
    works: bool = True
    """Whether the client gets to see it."""
    error: int | None = None
    restarts: bool = False
    """Whether the client's process is a new one afterwards, under another node id."""


@dataclass
class FakeGrid:
    """Nodes by name; ``fate`` decides what befalls each message to a client."""

    app: ClientApp
    names: tuple[str, ...]
    clock: Clock
    fate: Callable[[str, Message], Fate] = lambda name, message: Fate()
    restarted: Callable[[str], None] = lambda name: None
    answer: Callable[[str, Message], Message] | None = None
    """Answers in place of the app."""
    nodes: dict[int, str] = field(default_factory=dict)
    sent: list[tuple[str, Message]] = field(default_factory=list)

    def __post_init__(self) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
        self._ids = itertools.count(100)
        self._due: list[tuple[float, int, Message]] = []
        self._busy: dict[int, float] = {}  # until when a node works on what it was sent
        for name in self.names:
            self.join(name)

    def join(self, name: str) -> int:
        node = next(self._ids)
        self.nodes[node] = name
        return node

    def leave(self, name: str) -> None:
        self.nodes = {node: n for node, n in self.nodes.items() if n != name}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        wanted, ready, later = set(message_ids), [], []
        for entry in self._due:
            due, _, reply = entry
            here = due <= self.clock.now and reply.metadata.reply_to_message_id in wanted
            (ready if here else later).append(entry)
        self._due = later
        return [reply for _, _, reply in sorted(ready, key=lambda entry: entry[:2])]

    def _push(self, message: Message) -> str:
        number = str(next(self._ids))
        message.metadata.__dict__["_message_id"] = number
        name = self.nodes.get(message.metadata.dst_node_id)
        if name is None:
            return number
        node = message.metadata.dst_node_id
        if message.metadata.message_type != "train":
            busy = max(0.0, self._busy.get(node, 0.0) - self.clock.now)
            self.reply(self._work(name, message), busy + 0.1)
            return number
        self.sent.append((name, message))
        fate = self.fate(name, message)
        if fate.works:
            self._busy[node] = self.clock.now + min(fate.replies, default=0.0)
            for delay in fate.replies:
                self.reply(self._work(name, message), delay)
        if fate.error is not None:
            self.reply(Message(Error(fate.error, "as it was to be"), reply_to=message), 0.1)
        if fate.restarts:
            self.leave(name)
            self.restarted(name)
            self.join(name)
        return number

    def _work(self, name: str, message: Message) -> Message:
        if self.answer is not None and message.metadata.message_type == "train":
            return self.answer(name, message)
        node = message.metadata.dst_node_id
        context = Context(1, node, {"client": name}, RecordDict(), {})
        return self.app(message, context)

    def reply(self, reply: Message, delay: float) -> None:
        heapq.heappush(self._due, (self.clock.now + delay, next(self._ids), reply))


def misfortunes(seed: int, most: int) -> Callable[[str, Message], Fate]:
    """Return fates by a seed: at most so many misfortunes for each client, then none."""
    rng, left = random.Random(seed), dict[str, int]()

    def fate(name: str, message: Message) -> Fate:
        delay = rng.uniform(0.0, 20.0)
        kind = rng.choice(["none", "lost", "unanswered", "error", "restart", "doubled", "slow"])
        left[name] = left.get(name, most) - (kind != "none")
        if left[name] < 0:
            return Fate((delay,))
        return {
            "none": Fate((delay,)),
            "lost": Fate((), works=False),
            "unanswered": Fate(()),
            "error": Fate((), works=rng.random() < 0.5, error=UNAVAILABLE),
            "restart": Fate((), restarts=True),
            "doubled": Fate((delay, delay + rng.uniform(0.0, 50.0))),
            "slow": Fate((SLOW,)),
        }[kind]

    return fate
