"""How a run stands at this moment: which phase, which client does what, how long it will take."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from fedbridge.core.wording import fault
from fedbridge.methods.config import Config
from fedbridge.runs.progress import Progress
from fedbridge.wire import Step


@dataclass
class Seat:
    """One client, as far as the server knows."""

    doing: str = "waiting"
    task: int = 0
    """The client's own task, 0 before its first upload since the start."""
    accuracy: dict[str, float] = field(default_factory=dict)
    """By predictor: class-incremental, on its tasks so far."""


@dataclass
class RunStatus:
    """The progress of a run: updated by the transport and every step, read by a display."""

    config: Config
    clock: Callable[[], float] = time.monotonic
    phase: str = "preparing"
    counted: tuple[int, int] = (0, 0)
    """How much of the phase is done, and of how much; (0, 0) where that is unknown."""
    unit: str = "items"
    step: Step | None = None
    seats: dict[str, Seat] = field(default_factory=dict)
    progress: Progress | None = None
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._first: float | None = None  # when the first exchange since the start began
        self._before = 0.0  # when the last step ended
        self._steps = 0

    @property
    def doing(self) -> str:
        """What is going on, in words: ``the FM encodes: 3 of 9 items, 33 %``."""
        done, wanted = self.counted
        if not wanted:
            return self.phase
        return f"{self.phase}: {done} of {wanted} {self.unit}, {100 * done // wanted} %"

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock() - self._began

    def left(self) -> float | None:
        """Return the seconds that are left at the speed since the start, None before a step."""
        if self.progress is None or self._first is None or not self._steps:
            return None
        each = (self._before - self._first) / self._steps
        rest = (self.progress.total - self.progress.done) * each
        return max(0.0, rest - (self.clock() - self._before))

    def enter(self, phase: str) -> None:
        """Begin a phase of which nothing is known but its name."""
        self.phase, self.counted = phase, (0, 0)

    def encode(self, done: int, wanted: int) -> None:
        """Note how many items the FM has encoded."""
        self.phase, self.unit = "the FM encodes" if done < wanted else "preparing", "items"
        self.counted = (done, wanted) if done < wanted else (0, 0)

    def count(self, done: int, wanted: int) -> None:
        """Note how many models of a phase are done; one alone says nothing before its end."""
        self.counted, self.unit = (done, wanted) if wanted > 1 else (0, 0), "models"

    def learn(self, step: Step, clients: Iterable[str]) -> None:
        """Begin an exchange with some of the clients; the others are away."""
        asked = list(clients)
        self._first = self.clock() if self._first is None else self._first
        self.step = step
        for name, seat in self.seats.items():
            seat.doing = "learning" if name in asked else "away"
        self.phase, self.counted, self.unit = "learn", (0, len(asked)), "clients"

    def uploaded(self, client: str, task: int) -> None:
        """Note that a client's upload has arrived."""
        seat = self.seats.setdefault(client, Seat())
        seat.doing, seat.task = "uploaded", task
        self.counted = (self.counted[0] + 1, self.counted[1])

    def fuse(self) -> None:
        """Begin the server's part of a round; clients that have not answered by now will not."""
        for seat in self.seats.values():
            if seat.doing == "learning":
                seat.doing = "no answer"
        self.enter("fuse")

    def advance(self, progress: Progress, events: Iterable[dict[str, Any]] = ()) -> None:
        """Note a finished step, and all events so far."""
        self.faults = [words for event in events if (words := fault(event))]
        self.progress, self.step = progress, progress.step
        self._steps, self._before = self._steps + 1, self.clock()
        for name, seat in self.seats.items():
            seat.accuracy = progress.means(name)
