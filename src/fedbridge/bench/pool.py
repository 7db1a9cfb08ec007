"""Jobs side by side, each in a process of its own with one thread."""

import shutil
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fedbridge.bench.grid import Job, log_of
from fedbridge.bench.slot import Slot
from fedbridge.core.errors import UserError
from fedbridge.core.locks import LOCK, holding, lock_at
from fedbridge.runs.run import CONFIG, Run, exclusive_lock, names_in

PAUSE = 0.1  # seconds between two looks at the processes
PATIENCE = 20.0  # seconds that jobs have to end their step in


@dataclass
class GridStatus:
    """How far a grid is."""

    waiting: list[Job]
    running: dict[str, tuple[Job, float]] = field(default_factory=dict)
    """By the name of the job: when it was started, on the monotonic clock."""
    done: list[tuple[Job, float]] = field(default_factory=list)
    """With the seconds each took."""
    failed: list[tuple[Job, str]] = field(default_factory=list)
    """With what went wrong."""


def carry_out(jobs: Sequence[Job], slots: int) -> Generator[GridStatus, None, None]:
    """Run jobs in their order, at most ``slots`` at once; yield the standing now and then.

    A run that was interrupted is resumed, and one whose settings have changed starts anew. A job
    that fails does not stop the others. When the generator is closed, all processes end.
    """
    standing = GridStatus(list(jobs))
    free = [Slot() for _ in range(slots)]
    busy: dict[str, Slot] = {}
    try:
        while standing.waiting or busy:
            while standing.waiting and free:
                _start(standing.waiting.pop(0), standing, free, busy)
            _harvest(standing, free, busy)
            yield standing
            time.sleep(PAUSE if busy else 0.0)
    finally:
        _stop(list(busy.values()), free)


def note_failure(job: Job, reason: str) -> None:
    """Append to a job's log the reason why it failed, unless it is there already."""
    known = failure_of(job)
    if known is None or not reason.startswith(known):
        with log_of(job.folder).open("a", encoding="utf-8") as log:
            log.write(f"error: {reason}\n")


def failure_of(job: Job) -> str | None:
    """Return why a job failed the last time, None if it did not or is done since."""
    if not log_of(job.folder).is_file() or job.state() == "done":
        return None
    last = (_lines(job) or [""])[-1]
    return last.removeprefix("error: ") if last.startswith("error: ") else None


def tidy(job: Job) -> None:
    """Remove what a finished run needs no more; checkpoints of a whole grid would fill the disk."""
    log_of(job.folder).unlink(missing_ok=True)
    shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)


@contextmanager
def only_bench(results: Path) -> Iterator[None]:
    """Hold the lock of a folder of results; raise UserError if another bench holds it."""
    busy = f"{results}: another bench is at work here; let it end first"
    with holding(lock_at(results / "runs" / LOCK), busy, patience=0.0):
        yield


def _start(job: Job, standing: GridStatus, free: list[Slot], busy: dict[str, Slot]) -> None:
    try:
        if job.state() != "begun":
            with exclusive_lock(job.folder):
                _clear(job.folder)
                Run.create(job.folder, job.config)
        free[-1].start(job)
        busy[job.name] = free.pop()
        standing.running[job.name] = job, time.monotonic()
    except (UserError, OSError) as error:
        _fail(job, str(error), standing)


def _clear(folder: Path) -> None:
    (folder / CONFIG).unlink(missing_ok=True)  # first: without settings a folder is no run
    for name in names_in(folder) - {LOCK}:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _harvest(standing: GridStatus, free: list[Slot], busy: dict[str, Slot]) -> None:
    """Move the jobs that have ended to where they belong."""
    for name, slot in list(busy.items()):
        code = slot.code()
        if code is None:
            continue
        free.append(busy.pop(name))
        job, started = standing.running.pop(name)
        if code == 0 and job.state() == "done":
            standing.done.append((job, time.monotonic() - started))
            tidy(job)
        else:
            _fail(job, _complaint(job, code), standing)


def _fail(job: Job, reason: str, standing: GridStatus) -> None:
    note_failure(job, reason)
    standing.failed.append((job, reason))


def _complaint(job: Job, code: int) -> str:
    """Return the last line that a process wrote about its end, and where all of them are."""
    if code < 0:
        hint = " (is there enough memory?)" if code == -signal.SIGKILL else ""
        return f"was ended by {signal.Signals(-code).name}{hint}; see {log_of(job.folder)}"
    lines = _lines(job)
    last = lines[-1].removeprefix("error: ") if lines else f"ended with exit code {code}"
    return f"{last}; see {log_of(job.folder)}" if len(lines) > 1 else last


def _lines(job: Job) -> list[str]:
    return log_of(job.folder).read_text(encoding="utf-8", errors="replace").strip().splitlines()


def _stop(busy: Sequence[Slot], free: Sequence[Slot]) -> None:
    """Have jobs and processes end: politely, then not."""
    for slot in busy:
        slot.ask_to_end()
    deadline = time.monotonic() + PATIENCE
    for slot in busy:
        while slot.code() is None and time.monotonic() < deadline:
            time.sleep(PAUSE)
    for slot in (*busy, *free):
        slot.end()
