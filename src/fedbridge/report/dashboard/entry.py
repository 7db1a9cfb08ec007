"""One run as the dashboard shows it, however much of it there is and in whatever state."""

import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from fedbridge.core.errors import UserError
from fedbridge.core.metrics import PREDICTORS, PROTOCOLS
from fedbridge.report.dashboard.discovery import FILES, name_of
from fedbridge.report.run.folder import RunRecord, read_run
from fedbridge.report.run.reached import State as RunState
from fedbridge.report.run.reached import reached, run_state
from fedbridge.runs import run as runs
from fedbridge.runs.tasks import tasks_in_words

State = Literal[RunState, "broken"]
STATES: tuple[State, ...] = get_args(State)
LARGEST = 64 * 2**20  # bytes of a file that is still read
Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Entry:
    """A run's folder at one moment; ``run`` is None if it is broken, and ``problem`` says how."""

    folder: Path
    label: str
    stamp: Stamp
    state: State
    run: RunRecord | None
    events: tuple[dict[str, Any], ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        """The name by which a page asks for it."""
        return name_of(self.folder)

    @property
    def changed(self) -> float:
        """When something was last written, in seconds since 1970."""
        return max((when for when, _ in self.stamp), default=0) / 1e9

    @property
    def total(self) -> int:
        """How many steps the run has."""
        if self.run is None:
            return 0
        return self.run.config.scenario.slots * self.run.config.training.rounds

    @property
    def done(self) -> int:
        """How many steps are done."""
        return len(self.run.events.rounds) if self.run else 0

    @cached_property
    def accuracy(self) -> dict[str, float | None]:
        """Each predictor's class-incremental accuracy: final, or on the tasks so far."""
        if self.run is None:
            return dict.fromkeys(PREDICTORS)
        return {p: self.run.measures(p, PROTOCOLS[0]).final_accuracy for p in PREDICTORS}

    @property
    def forgetting(self) -> float | None:
        """The small models' forgetting, of an unfinished run on the tasks so far."""
        return self.run.measures("small", PROTOCOLS[0]).forgetting if self.run else None

    @property
    def reached(self) -> str:
        """How far an unfinished run has come, in words."""
        if self.run is None or self.state == "broken":
            return ""
        return reached(self.run, self.state).words if self.state != "finished" else ""

    @property
    def tasks(self) -> str:
        """What tasks its clients have, in words."""
        return tasks_in_words(self.run.tasks, self.run.config) if self.run else ""

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes up and down so far."""
        rounds = self.run.events.rounds if self.run else ()
        return sum(r.bytes_up for r in rounds), sum(r.bytes_down for r in rounds)

    @property
    def seconds(self) -> float | None:
        """How long the run took, or has taken until its last event."""
        summary = self.run.summary if self.run else None
        if summary and summary.seconds:
            return sum(summary.seconds.values())
        return max((float(event["time"]) for event in self.events), default=None)

    @property
    def left(self) -> float | None:
        """Seconds that are left of a running one, at the mean pace of its rounds."""
        times = [float(event["time"]) for event in self.events if event.get("kind") == "round"]
        if self.state != "running" or len(times) < 2:
            return None
        return (self.total - self.done) * (times[-1] - times[0]) / (len(times) - 1)


def read_entry(folder: Path, label: str, before: Entry | None = None) -> Entry | None:
    """Read a run's folder, or take what was read before if nothing has changed since.

    None if it has vanished. Whatever else is wrong with it is reported in the entry.
    """
    stamp, problem = _stamp(folder)
    if not stamp:
        return None
    if before and before.stamp == stamp:
        return _standing(before)
    try:
        if problem:
            raise UserError(problem)
        run = read_run(folder)
        events = tuple(runs.Run(folder, run.config).events())
    except Exception as error:  # whatever is wrong with one folder, the others are to be seen
        words = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Entry(folder, label, stamp, "broken", None, problem=words)
    return _standing(Entry(folder, label, stamp, "stopped", run, events))


def _standing(entry: Entry) -> Entry:
    """Return the entry with the state that it is in now."""
    if entry.run is None:
        return entry
    state = run_state(entry.run)
    if state == entry.state:
        return entry
    facts = entry.folder, entry.label, entry.stamp
    return Entry(*facts, state, entry.run, entry.events)


def _stamp(folder: Path) -> tuple[Stamp, str]:
    """Return when each file was written and its size, and what is wrong with one of them."""
    found, problem = [], ""
    for name in FILES:
        try:
            about = os.lstat(folder / name)
        except OSError:
            found.append((0, -1))
            continue
        found.append((about.st_mtime_ns, about.st_size))
        if not stat.S_ISREG(about.st_mode):
            problem = f"{folder / name}: must be a file, found something else"
        elif about.st_size > LARGEST:
            problem = f"{folder / name}: must have at most {LARGEST >> 20} MiB to be shown"
    return (tuple(found), problem) if found[0][1] >= 0 else ((), "")
