"""How far a run has come, whether anybody is at work in it, and why it has ended if it has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedbridge.report.run.folder import RunRecord
from fedbridge.runs import run as runs
from fedbridge.runs.tasks import slot_of

State = Literal["running", "finished", "failed", "stopped"]
WORDS: dict[State, str] = {
    "running": "being carried out, at",
    "finished": "finished,",
    "failed": "ended by an error at",
    "stopped": "stopped at",
}


@dataclass(frozen=True)
class Reached:
    """Where a run stands; steps are rounds of tasks, counted from 1."""

    state: State
    done: int
    """Steps that are done, of ``total``."""
    total: int
    measured: int
    """The task after which accuracies were last measured, of ``tasks``; 0 before the first."""
    tasks: int
    reason: str = ""
    """What the error said that ended it."""

    @property
    def words(self) -> str:
        """Return it in words: ``after task 2 of 5, stopped at step 7 of 15``."""
        place = (
            f"after task {self.measured} of {self.tasks}"
            if self.measured
            else "before the first task was measured"
        )
        return f"{place}, {WORDS[self.state]} step {self.done} of {self.total}"


def reached(run: RunRecord, state: State | None = None) -> Reached:
    """Return how far a run has come by now; ``state`` is what it is in, where that is known."""
    config = run.config
    ends = [slot_of(run.tasks, score.client, score.after_task) for score in run.scores]
    return Reached(
        state or run_state(run),
        len(run.events.rounds),
        config.scenario.slots * config.training.rounds,
        max(ends, default=0),
        config.scenario.slots,
        run.events.ended or "",
    )


def run_state(run: RunRecord) -> State:
    """Return the state that a run is in now."""
    if run.summary:
        return "finished"
    if still_running(run.folder):
        return "running"
    return "stopped" if run.events.ended is None else "failed"


def still_running(folder: Path) -> bool:
    """Return whether a process is at work in a run's folder; not in one that has vanished."""
    try:
        return runs.is_running(folder)
    except OSError:
        return False
