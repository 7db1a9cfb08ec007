"""A client whose state outlives its process: what it learns and answers is kept on its disk."""

import hashlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedbridge.client.client import FederatedClient
from fedbridge.core.checkpoints import Checkpoints
from fedbridge.core.errors import UserError
from fedbridge.core.files import json_text, read_json, write_text, writing
from fedbridge.core.locks import holding, lock_at
from fedbridge.wire import Answer, Broadcast, Evaluation, Request, decode, encode

log = logging.getLogger(__name__)
RUN = re.compile("[0-9a-f]{16}")
RECORD, MEASURED = "exchange.json", "evaluation"
CONFIG = "config.toml"


@dataclass(frozen=True)
class Kept:
    """One exchange as it lies on the disk, with the client's state after it."""

    folder: Path
    number: int
    request: str
    """sha256 of all that was asked."""
    measure: str
    """sha256 of what was to be measured."""
    first: int
    """Number of the run's first exchange with this client."""

    @classmethod
    def read(cls, folder: Path, number: int) -> "Kept":
        """Return the exchange in a folder."""
        record = read_json(folder / RECORD, "exchange")
        return cls(folder, number, record["request"], record["measure"], record["first"])

    def part(self, name: str) -> bytes:
        """Return the ``evaluation`` or the ``upload`` that was answered."""
        return (self.folder / name).read_bytes()


class Resident:
    """Answers requests; the state after the last ``keep`` exchanges of every run stays on disk.

    A request is answered from the state before its exchange. The same one asked again gets the
    same answer, whether a process died in between or a message came twice.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], FederatedClient],
        folder: Path,
        keep: int,
        config: str = "",
    ) -> None:
        self.name = name
        self.config = config
        """The settings as TOML, which are kept beside the states: for whoever uses them later."""
        self.folder = folder
        self.keep = keep
        self._build = build
        self._client: FederatedClient | None = None
        self._stands: Kept | None = None  # the exchange after which the client in memory stands

    def answer(self, request: Request) -> Answer:
        """Measure and learn as asked; raise UserError if what was before is no longer kept."""
        if not RUN.fullmatch(request.run) or request.number < 1:
            raise UserError(
                f"request: must name a run by 16 hexadecimal digits and an exchange from 1, found "
                f"{request.run!r} and {request.number}"
            )
        # until no other process answers for this client; one that dies gives way
        with writing(self.folder), holding(lock_at(self.folder / "lock")):
            checkpoints = Checkpoints(self.folder / request.run, self.keep)
            past = self._past(checkpoints)
            known = past.get(request.number)
            if known is None or known.request != _digest(request.measure, request.learn):
                known = self._carry_out(request, past, checkpoints)
            return Answer(self.name, request.number, known.part(MEASURED), known.part("upload"))

    def _past(self, checkpoints: Checkpoints) -> dict[int, Kept]:
        past = {}
        for number in checkpoints.steps():
            folder = checkpoints.folder_of(number)
            if damage := checkpoints.damage(number):
                log.warning("%s: passed over: %s", folder, ", ".join(damage))
            else:
                past[number] = Kept.read(folder, number)
        return past

    def _carry_out(self, request: Request, past: dict[int, Kept], checkpoints: Checkpoints) -> Kept:
        first = min((kept.first for kept in past.values()), default=request.number)
        earlier = [number for number in past if number < request.number]
        if request.number > first and not earlier:
            raise UserError(
                f"{self.name}: exchange {request.number} is too long ago to be answered; the "
                f"states that are kept here are those after {min(past)} to {max(past)}"
            )
        damaged = [n for n in checkpoints.steps() if n < request.number and n not in past]
        if damaged and not earlier:
            raise UserError(
                f"{self.name}: exchange {request.number} needs a state that is whole, found that "
                f"after exchange {max(damaged)} damaged; to begin anew, delete folder "
                f"{checkpoints.folder}"
            )
        before = past[max(earlier)] if earlier else None
        client = self._client_after(before)
        evaluation, upload = _measured(client, request.measure, before), b""
        if request.learn:
            upload = encode(client.learn(_broadcast(request.learn)))
        kept = Kept(
            checkpoints.folder_of(request.number),
            request.number,
            request=_digest(request.measure, request.learn),
            measure=_digest(request.measure),
            first=min(first, request.number),
        )
        with checkpoints.write(request.number) as folder:
            write_text(folder / CONFIG, self.config)
            client.save(folder)
            (folder / MEASURED).write_bytes(evaluation)
            (folder / "upload").write_bytes(upload)
            record = {"request": kept.request, "measure": kept.measure, "first": kept.first}
            write_text(folder / RECORD, json_text(record))
        self._stands = kept
        return kept

    def _client_after(self, before: Kept | None) -> FederatedClient:
        """Return the client in the state after an exchange, or as it was before the first."""
        if before is None:
            self._client = self._build()
        elif self._client is None or self._stands != before:
            self._client = self._client or self._build()
            self._client.load(before.folder)
        self._stands = None  # until it has carried out what it is about to do
        return self._client


def newest_state(folder: Path) -> Path | None:
    """Return where the newest whole state of a client lies, whichever run it is of."""
    found = []
    for run in folder.iterdir() if folder.is_dir() else ():
        if RUN.fullmatch(run.name):
            kept = Checkpoints(run, keep=1)
            found += [kept.folder_of(step) for step in kept.steps() if not kept.damage(step)]
    return max(found, key=lambda state: (state / RECORD).stat().st_mtime_ns, default=None)


def measured_in(state: Path) -> Evaluation | None:
    """Return what a client measured in the exchange of a state; None if it was not asked to."""
    data = (state / MEASURED).read_bytes()
    message = decode(data, "Evaluation") if data else None
    assert message is None or isinstance(message, Evaluation)
    return message


def _measured(client: FederatedClient, measure: bytes, before: Kept | None) -> bytes:
    """Return what the client measures; what it measured the last time it does not do again."""
    if not measure:
        return b""
    if before is not None and before.measure == _digest(measure):
        return before.part(MEASURED)
    return encode(client.evaluate(_broadcast(measure)))


def _broadcast(data: bytes) -> Broadcast:
    message = decode(data, "Broadcast")
    assert isinstance(message, Broadcast)
    return message


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
