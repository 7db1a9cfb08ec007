"""A run's folder: settings, environment, events, accuracy table, checkpoints and summary.

Every file but the events is written under a temporary name and renamed, so that a reader
never sees half of one. A checkpoint is a folder whose manifest, written last, lists the
size and sha256 of every file in it.
"""

import csv
import io
import json
import logging
import math
import os
import platform
import re
import secrets
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from fedbridge.core.checkpoints import Checkpoints
from fedbridge.core.errors import UserError
from fedbridge.core.events import append_event, read_events, unread
from fedbridge.core.files import json_text, read_json, write_text, writing
from fedbridge.core.legible import legible
from fedbridge.core.locks import LOCK, Lock, held, holding, lock_at
from fedbridge.core.metrics import PREDICTORS, PROTOCOLS, AccuracyRow, sort_rows
from fedbridge.methods.changes import changes, changes_since_summary
from fedbridge.methods.config import Config
from fedbridge.methods.files import dump_config, load_config, parse_config

log = logging.getLogger(__name__)
CONFIG = "config.toml"
ENVIRONMENT = "environment.json"
EVENTS = "events.jsonl"
ACCURACY = "accuracy.csv"
SUMMARY = "summary.json"
EMBEDDINGS = "embeddings.json"
DEPLOYED = "deployed"
SETTINGS = "settings"
"""Under what the environment keeps the settings that a run was started with."""
WORDS = ("message", "reason")
"""The fields of an event that are sentences, into which another side's words may have come."""
TOKEN = re.compile("[0-9a-f]{16}")
CLIENTS = "clients"
"""Where the clients of a simulation in Flower keep their states."""
COLUMNS = ("client", "after_task", "on_task", "predictor", "protocol", "accuracy", "n")
PACKAGES = ("fedbridge", "numpy", "torch", "transformers", "onnxruntime")


class Run:
    """One experiment's folder; it holds no state but the clock that dates the events."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.config = config
        # a resumed run's clock goes on from its last event
        self._zero = time.monotonic() - max((event["time"] for event in self.events()), default=0.0)

    @classmethod
    def create(cls, folder: Path, config: Config, deployed: bool = False) -> Self:
        """Start a run in a new or empty folder; raise UserError if it holds anything.

        ``deployed`` notes that its clients live at sites of their own.
        """
        require_free(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        where = {DEPLOYED: True} if deployed else {}
        about = {**environment(config.seed), "run": secrets.token_hex(8)} | where
        about[SETTINGS] = config.model_dump(mode="json", exclude_none=True)
        write_text(folder / ENVIRONMENT, json_text(about))
        try:  # last: a folder with settings is a run
            write_text(folder / CONFIG, dump_config(config))
        except UserError:
            (folder / ENVIRONMENT).unlink()
            raise
        return cls(folder, config)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Return the run in a folder; raise UserError naming what is missing or invalid."""
        missing = [name for name in (CONFIG, ENVIRONMENT) if not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"{folder}: a run's folder must hold {CONFIG} and {ENVIRONMENT}, "
                f"missing: {', '.join(missing)}"
            )
        run = cls(folder, load_config(folder / CONFIG))
        run._require_unchanged()
        return run

    def event(self, kind: str, **fields: object) -> None:
        """Append one event; ``time`` is in seconds since the run's start, pauses left out.

        What is said in words, whoever says it, can be shown anywhere, see ``legible``. Names stay
        as they are, so that they are found again in the table of accuracies.
        """
        seconds = round(time.monotonic() - self._zero, 3)
        words = {name: _shown(str(fields[name])) for name in WORDS if name in fields}
        append_event(self.folder / EVENTS, {"time": seconds, "kind": kind, **fields, **words})

    def events(self) -> list[dict[str, Any]]:
        """Return all events that can be read; see ``note_unread``."""
        return read_events(self.folder / EVENTS).known

    def note_unread(self) -> None:
        """Record once, as an event, that some lines are no events."""
        known, count = read_events(self.folder / EVENTS)
        if count and not any(event.get("message") == unread(count) for event in known):
            log.warning("%s: %s", self.folder, unread(count))
            self.event("warning", message=unread(count))

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Add an event ``aborted`` if the block fails, and let the failure go on."""
        try:
            yield
        except Exception as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            with suppress(Exception):  # a full disk, say, which is what it failed of
                self.event("aborted", message=f"{kind}{error}")
            raise

    def write_accuracy(self, rows: Sequence[AccuracyRow]) -> None:
        """Replace the accuracy table; rows are put into the declared order of tables."""
        table = io.StringIO()
        lines = csv.writer(table, lineterminator="\n")
        lines.writerow(COLUMNS)
        for row in sort_rows(rows):
            # repr of a float is exact, so that reading gives the count of right items back
            lines.writerow((*row.place, repr(row.accuracy), row.n))
        write_text(self.folder / ACCURACY, table.getvalue())

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace summary.json; numbers must be finite, None stands for undefined."""
        write_text(self.folder / SUMMARY, json_text(summary))

    def write_embeddings(self, drawn: dict[str, Any]) -> None:
        """Replace embeddings.json, a picture of the shared space in numbers, on a single line."""
        write_text(self.folder / EMBEDDINGS, json.dumps(drawn, allow_nan=False) + "\n")

    def checkpoint(self, step: int) -> AbstractContextManager[Path]:
        """Yield a folder to write a step's state into; it counts only if the block succeeds.

        The accuracy table as it stands is kept with it. Only the newest
        ``engine.checkpoints`` are kept. Raises UserError when the disk is full; what was
        there before stays whole.
        """
        return self._checkpoints.write(step, also=[self.folder / ACCURACY])

    def latest_checkpoint(self) -> Path | None:
        """Return the newest whole checkpoint, or None before the first.

        Damaged ones are passed over with a ``warning`` event; if all are damaged, UserError
        is raised, naming the files.
        """
        damage: list[str] = []
        for step in reversed(self._checkpoints.steps()):
            folder = self._checkpoints.folder_of(step)
            found = self._checkpoints.damage(step)
            if not found:
                for message in damage:
                    self.event("warning", message=f"checkpoint passed over: {message}")
                return folder
            damage.append(f"{folder}: {', '.join(found)}")
        if damage:
            raise UserError(f"no checkpoint of this run is whole: {'; '.join(damage)}")
        return None

    def _require_unchanged(self) -> None:
        """Raise UserError, naming all that differs, if the settings are no longer the run's own."""
        summary, told = self.folder / SUMMARY, self._environment
        if SETTINGS in told:
            where = f"{self.folder / ENVIRONMENT}: {SETTINGS}"
            found = changes(parse_config(told[SETTINGS], where), self.config)
        elif summary.is_file():  # of an earlier version, which kept no copy
            found = changes_since_summary(read_json(summary, "summary"), self.config)
        else:
            found = changes_since_summary({"seed": told.get("seed")}, self.config)
        if found:
            raise UserError(
                f"{self.folder / CONFIG}: has been changed since this run was started: "
                f"{'; '.join(found)}. "
                + ("The run is finished, with the former settings. " if summary.is_file() else "")
                + "Put them back, or start another run with the new ones"
            )

    @property
    def token(self) -> str:
        """Return what identifies this run among all others, however alike.

        Raises UserError if the file that says it is damaged.
        """
        token = self._environment.get("run")
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise UserError(
                f"{self.folder / ENVIRONMENT}: run: must be 16 hexadecimal digits, found {token!r}"
            )
        return token

    @property
    def go_on(self) -> str:
        """Return the command that resumes this run."""
        if self.deployed:
            return f"./run.sh {self.folder.name}, at the server of its deployment"
        return f"fedbridge resume {self.folder}"

    @property
    def deployed(self) -> bool:
        """Whether its clients live at sites of their own, and keep their states there."""
        return bool(self._environment.get(DEPLOYED))

    @property
    def _environment(self) -> dict[str, Any]:
        return read_json(self.folder / ENVIRONMENT, "environment")

    @property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder / "checkpoints", self.config.engine.checkpoints)


def require_free(folder: Path, besides: Collection[str] = ()) -> None:
    """Raise UserError if a folder holds anything but a lock and files of some names."""
    if folder.exists() and (not folder.is_dir() or names_in(folder) - {LOCK, *besides}):
        raise UserError(
            f"{folder}: a run needs a new or empty folder, and this one is in use; choose "
            f"another with --out, or go on with it: fedbridge resume {folder}"
        )


def names_in(folder: Path) -> set[str]:
    """Return the names of what lies in a folder, nothing if there is none."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def lock_of(folder: Path) -> Lock:
    """Return the lock of a run's folder, held by the process that works in it."""
    return lock_at(folder / LOCK)


@contextmanager
def exclusive_lock(folder: Path, patience: float = 0.0, lock: Lock | None = None) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made if it is missing.

    Raises UserError if another one is still at work after ``patience`` seconds. ``lock`` is the
    folder's where it may be held already.
    """
    busy = f"{folder}: another process is carrying out this run; let it end first"
    with holding(lock or lock_of(folder), busy, patience):
        yield


def is_running(folder: Path) -> bool:
    """Return whether a process is at work in a run's folder; nothing is written."""
    return held(folder / LOCK)


def is_finished(folder: Path) -> bool:
    """Return whether a run has come to its end, and all that it leaves then can be read.

    What a power cut has damaged is rewritten when the run is resumed from its last checkpoint.
    """
    picture = folder / EMBEDDINGS
    if not has_summary(folder) or (picture.exists() and _read_object(picture) is None):
        return False
    try:
        return bool(read_accuracy(folder))
    except UserError:
        return False


def has_summary(folder: Path) -> bool:
    """Return whether a run's summary exists and is whole."""
    return _read_object(folder / SUMMARY) is not None


def is_environment(path: Path) -> bool:
    """Return whether a file is the environment of a run, and no other of that name."""
    return "run" in (_read_object(path) or {})


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def environment(seed: int) -> dict[str, Any]:
    """Return what a run's numbers may depend on besides its settings."""
    return {
        "seed": seed,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def read_accuracy(folder: Path) -> list[AccuracyRow]:
    """Return the rows of a run's accuracy table, or of the copy in one of its checkpoints.

    There are none before the first evaluation. Raises UserError naming the line at fault.
    """
    path = folder / ACCURACY
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: this table is damaged: {error}") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise UserError(f"{path}: the first line must be {','.join(COLUMNS)}, found {lines[:1]}")
    return [_parse_row(path, number, line) for number, line in enumerate(lines[1:], start=2)]


def _shown(words: str) -> str:
    return "\n".join(map(legible, words.split("\n")))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    # asks for this file too, so that an unrelated repository around an installation is no answer
    here = Path(__file__)
    command = ["git", "-C", str(here.parent), "rev-parse", "HEAD", f"HEAD:./{here.name}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.split()[0]


def _parse_row(path: Path, number: int, line: list[str]) -> AccuracyRow:
    try:
        client, after_task, on_task, predictor, protocol, accuracy, size = line
        n, share = int(size), float(accuracy)
        row = AccuracyRow(
            client, int(after_task), int(on_task), predictor, protocol, round(share * n), n
        )
        sound = 0 <= row.correct <= n and math.isclose(row.accuracy, share, abs_tol=1e-9)
        if not sound or row.after_task < 0 or row.on_task < 1:
            raise ValueError("out of range")
        if predictor not in PREDICTORS or protocol not in PROTOCOLS:
            raise ValueError("unknown predictor or protocol")
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise UserError(
            f"{path}, line {number}: must be a measurement ({','.join(COLUMNS)}): {error}, "
            f"found {','.join(line)}"
        ) from error
    return row
