"""Requests out, answers in: over a Flower grid that may delay, lose, double and mix them up."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flwr.app import DEFAULT_TTL, Message, MessageType, RecordDict

from fedbridge.config import Engine
from fedbridge.engine.records import to_answer, to_record
from fedbridge.engine.roll import Clock, Doubts, Grid, Roll, trusting
from fedbridge.errors import UserError
from fedbridge.server.admission import Refused
from fedbridge.wire import Answer, Request

log = logging.getLogger(__name__)
MIB = 2**20
RAISED = (1, 2)
"""Flower's codes for an error in the client's own program: it would come again and again."""
ATTEMPTS = 3
"""Times that such an error is met before the client is given up for the exchange."""
FIRST_POLL, SLOWEST_POLL = 0.02, 2.0
ROLL_CALL = 5.0
"""Seconds between looks at who is there."""
LONGEST_PAUSE = 60.0
"""Most seconds until a client that failed is asked again; at first it is one second."""


@dataclass
class Letter:
    """A request to one client, and what has become of it."""

    request: Request
    node: int | None = None
    due: float = 0.0
    """When it is to be sent, again."""
    failures: int = 0
    closed: bool = False
    answer: Answer | None = None
    reason: str = ""
    """Why it was closed without an answer."""
    refused: bool = False

    def close(self, reason: str, refused: bool = False) -> None:
        """Expect no answer any more."""
        self.closed, self.reason, self.refused = True, reason, refused


class Post:
    """Asks clients and gathers their answers; ``event`` is told all that is not as it should be."""

    def __init__(
        self,
        grid: Grid,
        names: tuple[str, ...],
        settings: Engine,
        event: Callable[..., None],
        clock: Clock = time,
        doubts: Doubts = trusting,
    ) -> None:
        self.grid = grid
        self.names = names
        self.settings = settings
        self.event = event
        self.clock = clock
        self.refused: list[Refused] = []
        self._roll = Roll(grid, names, self._turn_away, doubts, clock)
        self._here: dict[str, int] = {}
        self._looked = -ROLL_CALL
        self._out: dict[str, tuple[str, int]] = {}  # client and exchange by a message's id
        self._answered: dict[str, int] = {}
        self._pause = FIRST_POLL

    def wait(self) -> list[str]:
        """Wait until every client is there; return who still is not at the deadline."""
        end = self.clock.monotonic() + self.settings.deadline
        told: list[str] = []
        while missing := [n for n in self.names if n not in self._roll.call()]:
            if self.clock.monotonic() >= end:
                break
            if missing != told:
                log.info("waiting for %s", ", ".join(missing))
                told = missing
            self._rest()
        return missing

    def gather(self, requests: dict[str, Request]) -> Iterator[tuple[str, Answer | None]]:
        """Yield the answers in the order of the requests, None for one that cannot be read.

        Who has not answered by the deadline is left out, with an event ``absent``.
        """
        letters = {name: Letter(request) for name, request in requests.items()}
        end = self.clock.monotonic() + self.settings.deadline
        for name, letter in letters.items():
            while not letter.closed and self.clock.monotonic() < end:
                self._send(letters)
                if not self._receive(letters):
                    self._rest()
            if letter.answer or letter.refused:
                yield name, letter.answer
                letter.answer = None  # a large thing, and no longer needed
            else:
                late = f"no answer within {self.settings.deadline:g} s"
                letter.close(letter.reason or late)
                self._tell("absent", name, letter.request.number, letter.reason)

    def _send(self, letters: dict[str, Letter]) -> None:
        now = self.clock.monotonic()
        if now - self._looked >= ROLL_CALL:
            self._here, self._looked = self._roll.call(), now
        for name, letter in letters.items():
            node = self._here.get(name)
            if letter.closed or node is None or (now < letter.due and node == letter.node):
                continue
            ttl = min(self.settings.deadline, DEFAULT_TTL)
            message = Message(to_record(letter.request), node, MessageType.TRAIN, ttl=ttl)
            for number in self.grid.push_messages([message]):
                if number:  # Flower gives None for what it could not send
                    self._out[number] = name, letter.request.number
            letter.node, letter.due = node, now + self.settings.deadline / 3
            self._pause = FIRST_POLL

    def _receive(self, letters: dict[str, Letter]) -> bool:
        """Take in what there is; return whether there was anything."""
        replies = list(self.grid.pull_messages(list(self._out))) if self._out else []
        for reply in replies:
            name, number = self._out.pop(reply.metadata.reply_to_message_id, ("", 0))
            letter = letters.get(name)
            if letter is None or letter.closed or letter.request.number != number:
                if not reply.has_error() and name:
                    kind = "doubled" if self._answered.get(name) == number else "late"
                    self._tell(kind, name, number, "an answer is not taken")
            elif reply.has_error():
                self._fail(name, letter, reply.error.code, reply.error.reason or "no reason given")
            else:
                self._open(name, letter, reply.content)
        return bool(replies)

    def _open(self, name: str, letter: Letter, content: RecordDict) -> None:
        number = letter.request.number
        try:
            answer = to_answer(content)
        except UserError as error:
            return self._refuse(name, letter, str(error))
        size = len(answer.upload) + len(answer.evaluation)
        if size > self.settings.largest * MIB:
            reason = f"must have at most {self.settings.largest} MiB, found {size / MIB:.0f} MiB"
            return self._refuse(name, letter, reason)
        if answer.client != name:
            return self._refuse(name, letter, f"answers as {answer.client!r}")
        if answer.number != number:
            self._tell("wrong-round", name, number, f"answers exchange {answer.number}")
            return self._ask_again(letter)
        self._answered[name] = number
        if answer.refusal:
            self._tell("failed", name, number, answer.refusal)
            letter.close(answer.refusal)
        else:
            letter.answer, letter.closed = answer, True
        return None

    def _refuse(self, name: str, letter: Letter, reason: str) -> None:
        self.refused.append(Refused(name, reason))
        self._answered[name] = letter.request.number
        letter.close(reason, refused=True)

    def _fail(self, name: str, letter: Letter, code: int, reason: str) -> None:
        self._tell("failed", name, letter.request.number, reason)
        self._ask_again(letter)
        if code in RAISED and letter.failures >= ATTEMPTS:
            letter.close(reason)

    def _ask_again(self, letter: Letter) -> None:
        pause = min(2.0**letter.failures, LONGEST_PAUSE)
        letter.failures += 1
        letter.due = self.clock.monotonic() + pause

    def _tell(self, kind: str, name: str, number: int, reason: str) -> None:
        self.event(kind, client=name, exchange=number, reason=reason)
        log.warning("%s: %s in exchange %d: %s", name, kind, number, reason)

    def _turn_away(self, who: Refused) -> None:
        self.event("turned-away", client=who.client, reason=who.reason)
        log.warning("%s is turned away: %s", who.client, who.reason)

    def _rest(self) -> None:
        self.clock.sleep(self._pause)
        self._pause = min(1.5 * self._pause, SLOWEST_POLL)
