"""Which Flower node is which client: node ids are random and change, clients keep their names."""

from collections.abc import Callable, Iterable
from typing import Protocol

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from google.protobuf.message import DecodeError

from fedbridge.server.admission import Refused

WHO = "who"
Doubts = Callable[[int, str, bytes], list[str]]
"""Says in words what speaks against a node, the name that it says and what it presents."""
TTL = 600.0
RAISED = (1, 2, 8)
"""Flower's codes for a client's program that fails or breaks down: it would again and again."""
AGAIN = 30.0
"""Seconds until a node that was refused is asked again: its site may have set things right."""
LOST = 60.0
"""Seconds until a node that has not answered is asked again: it may have been killed over it."""


UNREADABLE = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError),
    DecodeError,
)
"""What Flower raises for a reply that a node did not make with Flower; of these it loses all that
it was about to give."""


class Clock(Protocol):
    """What the module ``time`` offers."""

    def monotonic(self) -> float:
        """Return seconds since some time in the past."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


class Grid(Protocol):
    """What is used of Flower's ``Grid``."""

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes that are connected."""
        ...

    def push_messages(self, messages: Iterable[Message], /) -> Iterable[str]:
        """Send messages and return their ids."""
        ...

    def pull_messages(self, message_ids: Iterable[str], /) -> Iterable[Message]:
        """Return the replies to some messages that have come and were not returned before."""
        ...


class Roster:
    """The clients that are connected; ``refuse`` is called for nodes that are none of them.

    Of two nodes with one name the first is the client as long as it is connected: a
    process that was restarted may be another node, and the old one is only missed after a while.
    A node that was away introduces itself again, since its site may have changed meanwhile.
    """

    def __init__(
        self,
        grid: Grid,
        names: tuple[str, ...],
        refuse: Callable[[Refused], None],
        doubts: Doubts,
        clock: Clock,
    ) -> None:
        self.grid = grid
        self.names = names
        self.refuse = refuse
        self.doubts = doubts
        self.clock = clock
        self._names: dict[int, str] = {}  # by node, in the order in which they said it
        self._asked: dict[str, int] = {}  # node by the id of the message that asks who it is
        self._refused: dict[int, Refused] = {}
        self._due: dict[int, float] = {}  # when a node that is no client yet is asked again

    def call(self) -> dict[str, int]:
        """Ask new nodes who they are; return the node of every connected client."""
        here, now = set(self.grid.get_node_ids()), self.clock.monotonic()
        self._names = {node: name for node, name in self._names.items() if node in here}
        self._asked = {number: node for number, node in self._asked.items() if node in here}
        self._due = {node: due for node, due in self._due.items() if node in here}
        for node in sorted(n for n in here - set(self._names) if self._due.get(n, now) <= now):
            message = Message(RecordDict({WHO: ConfigRecord({})}), node, MessageType.QUERY, ttl=TTL)
            self._asked |= {number: node for number in self.grid.push_messages([message]) if number}
            self._due[node] = now + LOST  # a question may be lost on its way
        replies, broken = pulled(self.grid, self._asked)
        for number in broken:
            node = self._asked.pop(number)
            self._turn_away(node, f"node {node}", "its answer cannot be read")
        for reply in replies:
            node = self._asked.pop(reply.metadata.reply_to_message_id)
            if reply.has_content():
                self._admit(node, *_said_in(reply.content))
            elif reply.has_error() and reply.error.code in RAISED:
                self._turn_away(node, f"node {node}", f"its program fails: {reply.error.reason}")
            else:  # it did not reach the node, or expired there: ask at once
                self._due.pop(node, None)
        first: dict[str, int] = {}
        for node, name in self._names.items():
            first.setdefault(name, node)
        return {name: first[name] for name in self.names if name in first}

    def _admit(self, node: int, name: str, presented: bytes, refusal: str) -> None:
        """Keep a node's name, or tell why it may not take part."""
        reasons = [refusal] if refusal else self.doubts(node, name, presented)
        if name not in self.names:
            reasons = ["no client of this run has this name"]
        if reasons:
            self._turn_away(node, name, "; ".join(reasons))
        else:
            self._names[node] = name

    def _turn_away(self, node: int, name: str, reason: str) -> None:
        refused = Refused.of(name, reason)
        if self._refused.get(node) != refused:  # reported once, however often it is asked
            self.refuse(refused)
        self._refused[node], self._due[node] = refused, self.clock.monotonic() + AGAIN


def pulled(grid: Grid, asked: Iterable[str]) -> tuple[list[Message], list[str]]:
    """Return the replies to some messages, and the messages whose replies cannot be read."""
    numbers = list(asked)
    if not numbers:
        return [], []
    try:
        return list(grid.pull_messages(numbers)), []
    except UNREADABLE:
        if len(numbers) == 1:
            return [], numbers
    # one unreadable reply spoils them all: ask for each alone to learn which it is
    parts = [pulled(grid, [number]) for number in numbers]
    return [one for replies, _ in parts for one in replies], [n for _, bad in parts for n in bad]


def trusting(node: int, name: str, presented: bytes) -> list[str]:
    """Accept every node."""
    return []


def introduction(client: str, presented: bytes = b"", refusal: str = "") -> RecordDict:
    """Return who a client is, with what it presents itself, or why it cannot take part."""
    record = ConfigRecord()
    record["client"], record["hello"], record["refusal"] = client, presented, refusal
    return RecordDict({WHO: record})


def _said_in(content: RecordDict) -> tuple[str, bytes, str]:
    record = content.config_records.get(WHO, ConfigRecord())
    hello = record.get("hello")
    presented = hello if isinstance(hello, bytes) else b""
    return str(record.get("client", "")), presented, str(record.get("refusal", ""))
