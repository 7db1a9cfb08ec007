"""What a client meets, and when: its tasks in their slots of time, and everybody's."""

from dataclasses import dataclass

from fedbridge.data.streams.splits import Indices


@dataclass(frozen=True, eq=False)
class Task:
    """The classes that a task is about, and a client's items for it, each ``(n,)``."""

    classes: tuple[int, ...]
    own: Indices
    """The client's own training items that arrive with this task; its sums are over these."""
    train: Indices
    """What it may train on: ``own``, or more for the upper bounds (``scenario.history``)."""
    validation: Indices
    test: Indices
    met: tuple[int, ...]
    """The classes of the items in ``own``: ``classes``, then others that blur has brought."""
    name: str = ""
    """What the data call it; empty where they do not."""


@dataclass(frozen=True, eq=False)
class ClientStream:
    """One client's tasks, in the order in which they arrive, one in each slot of time."""

    name: str
    tasks: tuple[Task, ...]
    start: int = 1
    """Slot of its first task."""
    rounds: int | None = None
    """In how many rounds of a task, the last ones, it takes part; None: in all."""

    def own_task(self, slot: int) -> int:
        """Return the number of its task in a slot: 0 before its first, afterwards its last."""
        return min(max(0, slot - self.start + 1), len(self.tasks))

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Say whether it learns in a round, counted from 1, of the ``rounds`` of a slot."""
        there = self.start <= slot < self.start + len(self.tasks)
        return there and (self.rounds is None or round_ > rounds - self.rounds)

    def seen(self, task: int) -> list[int]:
        """Return the classes that it has met through one of its tasks, ascending."""
        return sorted({label for known in self.tasks[:task] for label in known.met})

    def state(self) -> list[int]:
        """Return what a restart must know of it: nothing, all of it is known beforehand."""
        return []

    def load(self, state: list[int]) -> None:
        """Take up what ``state`` returned."""


@dataclass(frozen=True, eq=False)
class StatedStream(ClientStream):
    """A stream of tasks that the data state, whose client may have nothing in some slots."""

    slots: tuple[int, ...] = ()
    """The slot of each task, ascending."""

    def own_task(self, slot: int) -> int:
        """Return the number of its newest task in a slot, 0 before its first."""
        return sum(known <= slot for known in self.slots)

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Say whether it has a task in a slot, and learns in a round of it."""
        return slot in self.slots and (self.rounds is None or round_ > rounds - self.rounds)


@dataclass(frozen=True, eq=False)
class Elsewhere(ClientStream):
    """A stream as the server of real sites knows it: by the client's name only."""

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Say yes: a site that has nothing to learn says so itself."""
        return True


@dataclass(frozen=True, eq=False)
class Streams:
    """The public set ``U`` as item indices ``(n,)``, and every client's stream."""

    public: Indices
    clients: tuple[ClientStream, ...]
