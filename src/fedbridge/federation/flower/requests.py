"""Requests out, answers in: over a Flower grid that may delay, lose, double and mix them up."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, isinf
from reprlib import repr as shortened

from flwr.app import DEFAULT_TTL, Message, MessageType, RecordDict

from fedbridge.config import Engine
from fedbridge.core.errors import UserError
from fedbridge.core.legible import legible
from fedbridge.federation.flower.records import to_answer, to_record
from fedbridge.federation.flower.roster import RAISED, Clock, Doubts, Grid, Roster, pulled, trusting
from fedbridge.server.admission import Refused
from fedbridge.wire import Answer, Request

log = logging.getLogger(__name__)
MIB = 2**20
ATTEMPTS = 3
"""Times that such an error is met before the client is given up for the exchange."""
FIRST_POLL, SLOWEST_POLL = 0.02, 0.5
ROLL_CALL = 5.0
"""Seconds between checks of who is connected."""
LONGEST_PAUSE = 60.0
"""Most seconds until a client that failed is asked again; at first it is one second."""
IDLE = "idle"
PROBE, PROBE_TTL = 60.0, 60.0
"""Seconds after which a node that has not answered is asked whether it is idle, and for which this
question waits there. A node works on one message at a time, in their order. So one that answers
this has lost what it was asked before: its SuperNode was killed over it and restarted."""


@dataclass
class PendingRequest:
    """A request to one client, and what has become of it."""

    request: Request
    node: int | None = None
    due: float = 0.0
    """When it is to be sent, again; never while it is expected to be worked on."""
    sent: float = 0.0
    probed: float = 0.0
    """When its node was last asked whether it is idle."""
    failures: int = 0
    raised: int = 0
    closed: bool = False
    taken: bool = False
    """Whether it was answered, be it by something that was no answer."""
    answer: Answer | None = None
    reason: str = ""
    """Why it was closed without an answer."""

    def close(self, reason: str = "", taken: bool = False) -> None:
        """Expect no answer any more."""
        self.closed, self.reason, self.taken = True, reason, taken


class RequestBroker:
    """Asks clients and gathers their answers; ``event`` is called for every irregularity."""

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
        self._roll = Roster(grid, names, self._turn_away, doubts, clock)
        self._here: dict[str, int] = {}
        self._looked = -ROLL_CALL
        self._out: dict[str, tuple[str, int]] = {}  # client and exchange by a message's id
        self._probes: dict[str, tuple[str, float]] = {}  # client and its letter's time, likewise
        self._answered: dict[str, int] = {}
        self._pause = FIRST_POLL

    def wait(self) -> list[str]:
        """Wait until a quorum of clients is connected, or the deadline; return who is missing."""
        end = self.clock.monotonic() + self.settings.deadline
        told: list[str] = []
        while missing := self._look():
            there = len(self.names) - len(missing)
            if there >= self.needed(len(self.names)) or self.clock.monotonic() >= end:
                break
            if missing != told:
                log.info("waiting for %s", ", ".join(missing))
                told = missing
            self._rest()
        return missing

    def needed(self, asked: int) -> int:
        """Return how many of so many clients that are asked must answer."""
        quorum = self.settings.quorum
        return asked if quorum == "all" else min(quorum, asked)

    def gather(self, requests: dict[str, Request]) -> Iterator[tuple[str, Answer | None]]:
        """Yield the answers in the order of the requests, None for one that cannot be read.

        Who has not answered by the deadline is left out, with an event ``absent``. So is who is not
        there when all who are have answered, and are a quorum.
        """
        letters = {name: PendingRequest(request) for name, request in requests.items()}
        end = self.clock.monotonic() + self.settings.deadline
        # not as they arrive: sums of floats depend on the order, and every run must give the same
        for name, letter in letters.items():
            while not (letter.closed or self._enough(letters) or self.clock.monotonic() >= end):
                self._send(letters)
                self._probe(letters)
                if not self._receive(letters):
                    self._rest()
            if letter.taken:
                yield name, letter.answer
                letter.answer = None  # a large thing, and no longer needed
            else:
                late = f"no answer within {self.settings.deadline:g} s"
                letter.close(letter.reason or (late if name in self._here else "it is not there"))
                self._tell("absent", name, letter.request.number, letter.reason)

    def _enough(self, letters: dict[str, PendingRequest]) -> bool:
        """Return whether all connected clients have answered, and are a quorum."""
        taken = sum(letter.taken for letter in letters.values())
        open_here = [n for n in self._here if n in letters and not letters[n].closed]
        return taken >= self.needed(len(letters)) and not open_here

    def _look(self) -> list[str]:
        """Check who is connected, and return who is missing."""
        self._here, self._looked = self._roll.call(), self.clock.monotonic()
        return [name for name in self.names if name not in self._here]

    def _send(self, letters: dict[str, PendingRequest]) -> None:
        now = self.clock.monotonic()
        if now - self._looked >= ROLL_CALL:
            before = set(self._here)
            self._look()
            for name in sorted(before ^ set(self._here)):
                self.event("left" if name in before else "joined", client=name)
        for name, letter in letters.items():
            node = self._here.get(name)
            if letter.closed or node is None or (now < letter.due and node == letter.node):
                continue
            # a simulation's deadline is infinite, and a message must expire some time
            ttl = min(self.settings.deadline, DEFAULT_TTL)
            message = Message(to_record(letter.request), node, MessageType.TRAIN, ttl=ttl)
            for number in self.grid.push_messages([message]):
                if number:  # Flower gives None for what it could not send
                    self._out[number] = name, letter.request.number
            letter.node, letter.due = node, inf
            letter.sent = letter.probed = now
            self._pause = FIRST_POLL

    def _probe(self, letters: dict[str, PendingRequest]) -> None:
        """Ask who has not answered for a while whether it is idle.

        A simulation, which waits for ever, loses nothing, and its nodes do two things at once.
        """
        now = self.clock.monotonic()
        for name, letter in letters.items():
            expected = not letter.closed and letter.due == inf
            if isinf(self.settings.deadline) or not expected or now < letter.probed + PROBE:
                continue
            assert letter.node is not None
            kind = f"{MessageType.QUERY}.{IDLE}"
            probe = Message(RecordDict(), letter.node, kind, ttl=PROBE_TTL)
            for number in self.grid.push_messages([probe]):
                if number:
                    self._probes[number] = name, letter.sent
            letter.probed = now

    def _receive(self, letters: dict[str, PendingRequest]) -> bool:
        """Process the replies that have arrived; return whether there were any."""
        replies, broken = pulled(self.grid, [*self._out, *self._probes])
        for number in broken:
            self._give_up(letters, number)
        for reply in replies:
            if reply.metadata.reply_to_message_id not in self._probes:
                self._take(letters, reply)
        for reply in replies:  # when the answers that came with them are taken
            if reply.metadata.reply_to_message_id in self._probes:
                self._miss(letters, reply)
        return bool(replies or broken)

    def _give_up(self, letters: dict[str, PendingRequest], number: str) -> None:
        """Refuse a reply of which Flower can make nothing."""
        self._probes.pop(number, None)
        name, exchange = self._out.pop(number, ("", 0))
        letter = letters.get(name)
        if letter is not None and not letter.closed and letter.request.number == exchange:
            self._refuse(name, letter, "message: not a readable Answer: no message of Flower's")

    def _take(self, letters: dict[str, PendingRequest], reply: Message) -> None:
        name, number = self._out.pop(reply.metadata.reply_to_message_id, ("", 0))
        letter = letters.get(name)
        if letter is None or letter.closed or letter.request.number != number:
            # one that was asked twice may answer twice, or an earlier exchange during this one
            if not reply.has_error() and name:
                kind = "doubled" if self._answered.get(name) == number else "late"
                self._tell(kind, name, number, "an answer is not taken")
        elif reply.has_error():
            self._fail(name, letter, reply.error.code, reply.error.reason or "no reason given")
        else:
            self._open(name, letter, reply.content if reply.has_content() else RecordDict())

    def _miss(self, letters: dict[str, PendingRequest], reply: Message) -> None:
        """Ask again what an idle node was asked and has not answered."""
        name, sent = self._probes.pop(reply.metadata.reply_to_message_id)
        letter = letters.get(name)
        if reply.has_error() or letter is None or letter.closed or letter.sent != sent:
            return
        self._tell("lost", name, letter.request.number, "its node is idle and has not answered")
        self._ask_again(letter)

    def _open(self, name: str, letter: PendingRequest, content: RecordDict) -> None:
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
            return self._refuse(name, letter, f"answers as {shortened(answer.client)}")
        if answer.number != number:
            self._tell("wrong-round", name, number, f"answers exchange {answer.number}")
            return self._ask_again(letter)
        self._answered[name] = number
        if answer.refusal:
            self._tell("failed", name, number, answer.refusal)
            letter.close(answer.refusal)
        else:
            letter.answer = answer
            letter.close(taken=True)
        return None

    def _refuse(self, name: str, letter: PendingRequest, reason: str) -> None:
        self.refused.append(Refused.of(name, reason))
        self._answered[name] = letter.request.number
        # counted as an answer: asked again, it would send the same
        letter.close(reason, taken=True)

    def _fail(self, name: str, letter: PendingRequest, code: int, reason: str) -> None:
        self._tell("failed", name, letter.request.number, reason)
        self._ask_again(letter)
        # only what the client's own program raises counts: a node may be away as long as it likes
        letter.raised += code in RAISED
        if letter.raised >= ATTEMPTS:
            letter.close(reason)

    def _ask_again(self, letter: PendingRequest) -> None:
        # longer every time, so that a client in trouble is not kept there by questions
        pause = min(2.0**letter.failures, LONGEST_PAUSE)
        letter.failures += 1
        letter.due = self.clock.monotonic() + pause

    def _tell(self, kind: str, name: str, number: int, reason: str) -> None:
        reason = legible(reason)
        self.event(kind, client=name, exchange=number, reason=reason)
        log.warning("%s: %s in exchange %d: %s", name, kind, number, reason)

    def _turn_away(self, who: Refused) -> None:
        self.event("turned-away", client=who.client, reason=who.reason)
        log.warning("%s is turned away: %s", who.client, who.reason)

    def _rest(self) -> None:
        self.clock.sleep(self._pause)
        self._pause = min(1.5 * self._pause, SLOWEST_POLL)
