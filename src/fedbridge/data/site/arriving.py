"""The stream of a site: of tasks that are all there, or arrive, one at most in a slot of time."""

import logging
from dataclasses import dataclass

from fedbridge.core.errors import UserError
from fedbridge.data.site.holding import Holding
from fedbridge.data.streams.scenario import ClientStream, Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class WholeStream(ClientStream):
    """A stream of which a site holds all tasks. What a client remembers are numbers of items."""

    holding: Holding | None = None

    def state(self) -> list[int]:
        """Return a number for each task, made from all that it holds."""
        assert self.holding is not None
        return [int(dataset.fingerprint[:12], 16) for dataset in self.holding.datasets]

    def load(self, state: list[int]) -> None:
        """Raise UserError if it held other items then; further tasks may have come."""
        assert self.holding is not None
        now = self.state()
        noted = state or not now  # an older release noted nothing, and read otherwise
        if noted and state == now[: len(state)]:
            return
        raise UserError(
            f"{self.holding.site.state}: this client has learnt from items that were read "
            f"otherwise, with other settings in its site config or by the rules of an older "
            f"release, and what it remembers are their numbers; bring them back, or delete this "
            f"folder to begin anew"
        )


class LiveStream:
    """A client's stream whose next task is unknown; see ClientStream.

    The site looks once in a slot, when it is first asked to learn in it. What it found is part of
    the state, so that a restart gives the same tasks in the same slots.
    """

    def __init__(self, name: str, holding: Holding) -> None:
        self.name = name
        self._holding = holding
        self._looked = 0
        self._starts: list[int] = []

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Return the tasks that have arrived so far."""
        return self._holding.tasks

    def own_task(self, slot: int) -> int:
        """Return the number of its newest task in a slot, 0 before its first."""
        return sum(start <= slot for start in self._starts)

    def takes_part(self, slot: int, round_: int, rounds: int) -> bool:
        """Return whether it learns in a slot: whether a new task has arrived for it."""
        if slot > self._looked:
            self._looked = slot
            if self._arrived():
                self._starts.append(slot)
        return slot in self._starts

    def seen(self, task: int) -> list[int]:
        """Return the classes that it has met through one of its tasks, ascending."""
        return sorted({label for known in self.tasks[:task] for label in known.met})

    def state(self) -> list[int]:
        """Return the last slot it has looked in, and the slots in which its tasks began."""
        return [self._looked, *self._starts]

    def load(self, state: list[int]) -> None:
        """Restore what ``state`` returned; raise UserError if those tasks are gone."""
        self._looked, self._starts = state[0], list(state[1:])
        self._holding.keep(len(self._starts))

    def _arrived(self) -> bool:
        try:
            return self._holding.take()
        except UserError as error:  # the federation continues; a person must look at the data
            log.warning("%s: a new task cannot be taken: %s", self.name, error)
            return False
