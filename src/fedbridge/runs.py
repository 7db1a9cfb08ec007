"""A run's folder: settings, environment, events, accuracy table, checkpoints and summary.

Every file but the events is written under a temporary name and renamed, so that a reader
never sees half of one. A checkpoint is a folder whose manifest, written last, lists the
size and sha256 of every file in it.
"""

import csv
import errno
import hashlib
import io
import json
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from fedbridge.config import Config, dump_config, load_config
from fedbridge.errors import UserError
from fedbridge.metrics import PREDICTORS, PROTOCOLS, AccuracyRow, sort_rows

CONFIG = "config.toml"
ENVIRONMENT = "environment.json"
EVENTS = "events.jsonl"
ACCURACY = "accuracy.csv"
SUMMARY = "summary.json"
MANIFEST = "manifest.json"
COLUMNS = ("client", "after_task", "on_task", "predictor", "protocol", "accuracy", "n")
PACKAGES = ("fedbridge", "numpy", "torch", "transformers", "onnxruntime")
PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class Run:
    """One experiment's folder; it holds no state but the clock that dates the events."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.config = config
        # a resumed run's clock goes on from its last event
        self._zero = time.monotonic() - max((event["time"] for event in self.events()), default=0.0)

    @classmethod
    def create(cls, folder: Path, config: Config) -> Self:
        """Start a run in a new or empty folder; raise UserError if it holds anything."""
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{folder}: a run needs a new or empty folder, and this one is in use; choose "
                f"another with --out, or go on with it: fedbridge resume {folder}"
            )
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        _write(folder / ENVIRONMENT, _json(environment(config.seed)))
        _write(folder / CONFIG, dump_config(config))  # last: a folder with settings is a run
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
        return cls(folder, load_config(folder / CONFIG))

    def event(self, kind: str, **fields: object) -> None:
        """Append one event; ``time`` is in seconds since the run's start, pauses left out."""
        seconds = round(time.monotonic() - self._zero, 3)
        line = json.dumps({"time": seconds, "kind": kind, **fields}, allow_nan=False) + "\n"
        path = self.folder / EVENTS
        with _writing(path), path.open("a+b") as file:
            _drop_torn_line(file)
            file.write(line.encode())

    def events(self) -> list[dict[str, Any]]:
        """Return all whole events; a last line torn by a kill is left out."""
        path = self.folder / EVENTS
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")[:-1]  # a whole line ends in a line feed
        return [_parse_event(path, number, line) for number, line in enumerate(lines, start=1)]

    def write_accuracy(self, rows: Sequence[AccuracyRow]) -> None:
        """Replace the accuracy table; rows are put into the declared order of tables."""
        table = io.StringIO()
        lines = csv.writer(table, lineterminator="\n")
        lines.writerow(COLUMNS)
        for row in sort_rows(rows):
            # repr of a float is exact, so that reading gives the count of right items back
            lines.writerow((*row.place, repr(row.accuracy), row.n))
        _write(self.folder / ACCURACY, table.getvalue())

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace summary.json; numbers must be finite, None stands for undefined."""
        _write(self.folder / SUMMARY, _json(summary))

    @contextmanager
    def checkpoint(self, step: int) -> Iterator[Path]:
        """Give a folder to write a step's state into; it counts only if the block succeeds.

        The accuracy table as it stands is kept with it. Only the newest
        ``engine.checkpoints`` are kept. Raises UserError when the disk is full; what was
        there before stays whole.
        """
        final = self.folder / "checkpoints" / f"step-{step:04d}"
        partial = final.with_name(final.name + PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with _writing(partial):
                partial.mkdir(parents=True)
                yield partial
                if (self.folder / ACCURACY).exists():
                    shutil.copyfile(self.folder / ACCURACY, partial / ACCURACY)
                _write(partial / MANIFEST, _json({"step": step, "files": _digests(partial)}))
                shutil.rmtree(final, ignore_errors=True)  # only a damaged one is written again
                partial.replace(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        for old in self._checkpoints()[self.config.engine.checkpoints :]:
            shutil.rmtree(old)

    def latest_checkpoint(self) -> Path | None:
        """Return the newest whole checkpoint, or None before the first.

        Damaged ones are passed over with a ``warning`` event; if all are damaged, UserError
        is raised, naming the files.
        """
        damage: list[str] = []
        for folder in self._checkpoints():
            found = _damage(folder)
            if not found:
                for message in damage:
                    self.event("warning", message=f"checkpoint passed over: {message}")
                return folder
            damage.append(f"{folder}: {', '.join(found)}")
        if damage:
            raise UserError(f"no checkpoint of this run is whole: {'; '.join(damage)}")
        return None

    def _checkpoints(self) -> list[Path]:
        """Newest first."""
        found = {
            int(path.name.removeprefix("step-")): path
            for path in (self.folder / "checkpoints").glob("step-*")
            if path.name.removeprefix("step-").isdecimal()
        }
        return [found[step] for step in sorted(found, reverse=True)]


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
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise UserError(f"{path}: the first line must be {','.join(COLUMNS)}, found {lines[:1]}")
    return [_parse_row(path, number, line) for number, line in enumerate(lines[1:], start=2)]


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


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + PARTIAL)
    with _writing(path):
        try:
            partial.write_text(text, encoding="utf-8", newline="\n")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)  # half a file only takes up space


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into a UserError that names the path."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "errno", None)
        # safetensors reports a full disk in words only
        if reason in FULL or "No space left on device" in str(error):
            raise UserError(
                f"{path}: cannot be written: disk full; what was written before is whole: free "
                f"some space, then use fedbridge resume"
            ) from error
        if reason in REFUSED:
            raise UserError(f"{path}: cannot be written: {os.strerror(reason)}") from error
        raise


def _drop_torn_line(file: io.BufferedRandom) -> None:
    """Cut off what a kill left after the last line feed, so that the next event is a line."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read() not in (b"", b"\n"):
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _parse_event(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}, line {number}: must be JSON: {error}") from error
    if not isinstance(event, dict) or not isinstance(event.get("time"), int | float):
        raise UserError(f"{path}, line {number}: must be an object with a time, found {event!r}")
    return event


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


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of every file in a checkpoint but its manifest."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            name = path.relative_to(folder).as_posix()
            digests[name] = {"bytes": path.stat().st_size, "sha256": sha256}
    return digests


def _damage(folder: Path) -> list[str]:
    """Return what is wrong with each file of a checkpoint, nothing if it is whole."""
    try:
        listed = json.loads((folder / MANIFEST).read_bytes())["files"].items()
    except FileNotFoundError:
        return [f"{MANIFEST} is missing"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{MANIFEST} cannot be read"]
    found = _digests(folder)
    return [
        f"{name} " + ("has changed" if name in found else "is missing")
        for name, digest in listed
        if found.get(name) != digest
    ]
