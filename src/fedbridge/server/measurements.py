"""The accuracy table as clients fill it: what no honest client could have counted is refused.

Only the form is looked at. Nobody can tell here whether a client counted right.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product
from reprlib import repr as shortened

from fedbridge.config import Settings
from fedbridge.core.metrics import PREDICTORS, PROTOCOLS, AccuracyRow
from fedbridge.methods.counting import MOST_ITEMS
from fedbridge.methods.rounds import Noted
from fedbridge.server.admission import Refused
from fedbridge.wire import Acceptance, Evaluation

MOST_TASKS = 4096
"""Most tasks of one client; the table of its accuracies has the square of this many places."""


UNSOLVED = "everybody's newest sums give no head; it goes on with the last one that did"


class Measurements:
    """What the clients of a run have measured, in the order of the clients."""

    def __init__(self, config: Settings, clients: Iterable[str]) -> None:
        self.rows: list[AccuracyRow] = []
        self._choices: list[tuple[str, Acceptance]] = []
        self._noted: list[Noted] = []
        self._clients = tuple(clients)
        self._predictors = PREDICTORS if config.large.embeds else PREDICTORS[:1]

    def take(self, evaluations: Iterable[Evaluation], slot: int) -> list[Refused]:
        """Take in what was measured when slot ``slot`` had ended at the latest; return the rest.

        A client that measures again after the same task of its own has had no new one since:
        what it says now takes the place of what it said then.
        """
        refused = []
        for one in evaluations:
            if reason := next(self._faults(one, slot), None):
                refused.append(Refused.of(shortened(one.client)[1:-1], reason))
                continue
            place = one.client, one.after_task
            kept = [row for row in self.rows if (row.client, row.after_task) != place]
            new = [AccuracyRow(one.client, one.after_task, *row) for row in one.rows]
            self.rows = sorted(kept + new, key=lambda row: self._clients.index(row.client))
            if one.unsolved:
                self._noted.append(Noted("unsolved", one.client, UNSOLVED))
            if one.accepted:
                self._choices.append((one.client, Acceptance(*one.accepted)))
        return refused

    def take_choices(self) -> list[tuple[str, Acceptance]]:
        """Return once what clients have said of the fused models that they were sent."""
        taken, self._choices = self._choices, []
        return taken

    def take_noted(self) -> list[Noted]:
        """Return once whose head is not of the newest sums."""
        taken, self._noted = self._noted, []
        return taken

    def _faults(self, one: Evaluation, slot: int) -> Iterator[str]:
        """Yield what is wrong; each rule may rely on those before it."""
        if one.client not in self._clients:
            yield "client: must be one of the federation's, found another"
        last = max((row.after_task for row in self.rows if row.client == one.client), default=0)
        if not last <= one.after_task <= slot:
            yield f"after_task: must be from {last} to {slot}, found {shortened(one.after_task)}"
        yield from self._misplaced(one)
        if one.accepted:  # the boundary has seen that it has the form of one
            choice = Acceptance(*one.accepted)
            if not (1 <= choice.task <= slot and choice.n <= MOST_ITEMS):
                yield f"accepted: must be of a task up to {slot}, found {shortened(choice)}"
        for on, predictor, protocol, correct, n in one.rows:
            where = f"rows: on task {on}, {predictor}, {protocol}"
            if not 1 <= n <= MOST_ITEMS:
                yield f"{where}: n must be from 1 to {MOST_ITEMS}, found {shortened(n)}"
            if not 0 <= correct <= n:
                yield f"{where}: correct must be from 0 to {n}, found {shortened(correct)}"
        if len({(row[0], row[4]) for row in one.rows}) != len({row[0] for row in one.rows}):
            yield "rows: n must be the same in all rows on one task, found others"

    def _misplaced(self, one: Evaluation) -> Iterator[str]:
        """Check that all predictors are measured on all tasks up to one, each once."""
        kinds = list(product(self._predictors, PROTOCOLS))
        if len(one.rows) > MOST_TASKS * len(kinds):
            most = MOST_TASKS * len(kinds)
            yield f"rows: must be at most {most}, found {len(one.rows)}"
        tasks = len(one.rows) // len(kinds)
        expected = Counter(product(range(1, tasks + 1), kinds))
        found = Counter((row[0], row[1:3]) for row in one.rows)
        for place in (found - expected) or (expected - found):
            told = "besides" if found[place] else "none for"
            yield (
                f"rows: must be one for each of {', '.join(self._predictors)}, each protocol and "
                f"each task from 1, found {told} {shortened(place)}"
            )
        newest = one.after_task + 1 if one.after_task else MOST_TASKS
        if not one.after_task <= tasks <= newest:
            yield f"rows: must be on {one.after_task} to {newest} tasks, found {tasks}"
