"""A bench as the terminal shows it: what is to do, how far it is, and what went wrong."""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fedbridge.bench.grid import Job, State
from fedbridge.bench.outcome import outcome_of
from fedbridge.bench.pages import TABLE
from fedbridge.bench.pool import GridStatus, carry_out, note_failure, tidy
from fedbridge.bench.ready import make_ready
from fedbridge.bench.timing import Durations
from fedbridge.core.errors import UserError
from fedbridge.core.metrics import PREDICTORS
from fedbridge.core.wording import duration, percent
from fedbridge.runs.live.lines import EVERY, Lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

WORDS: dict[State, str] = {
    "done": "done",
    "begun": "to be gone on with",
    "changed": "settings have changed, to be run anew",
    "new": "to be run",
}


def show_plan(console: "Console", plan: Sequence[tuple[Job, float | None]]) -> None:
    """Print what would be done with every job, and how long it should take."""
    for job, expected in plan:
        state = job.state()
        about = f", about {duration(expected)}" if expected is not None and state != "done" else ""
        _say(console, f"{job.name}: {WORDS[state]}{about}")


def run_suite(
    console: "Console", path: Path, jobs: Sequence[Job], results: Path, slots: int
) -> list[tuple[Job, str]]:
    """Carry out what is not done yet and show how far it is; return what failed, and why.

    What data or a model is missing for fails, and the others go on. Raises UserError, before
    anything runs, for whatever else one of the runs would refuse.
    """
    known = Durations.read(results / TABLE)
    states = {job.name: job.state() for job in jobs}
    todo = [job for job in known.longest_first(jobs) if states[job.name] != "done"]
    for job in jobs:
        if states[job.name] == "changed":
            _say(console, f"{job.name}: its settings have changed since; it is run anew")
        elif states[job.name] == "done":
            tidy(job)  # we may have been killed before we could
    counts = Counter(states.values())
    _say(console, "; ".join(f"{counts[s]} {word}" for s, word in WORDS.items() if counts[s]))
    lines = Lines(partial(_say, console) if not console.is_terminal else lambda text: None)
    with _progress(console) as bar:
        line = bar.add_task("preparing", total=None, rest="")

        def encoding(scenario: str, done: int, wanted: int) -> None:
            what = f"the FM encodes {scenario}"
            bar.update(line, description=what, completed=done, total=wanted)
            share = f"{done} of {wanted} items, {100 * done // max(1, wanted)} %"
            lines.look(what, (done, wanted), f"{what}: {share}")

        lacking = make_ready(path, todo, encoding)
        for job, reason in lacking:
            note_failure(job, reason)
        stuck = {job.name for job, _ in lacking}
        todo = [job for job in todo if job.name not in stuck]
        bar.reset(line, total=len(todo), description="")
        standing = GridStatus([])
        with closing(carry_out(todo, slots)) as standings:
            told = 0
            for standing in standings:
                for job, seconds in standing.done[told:]:
                    known.add((job.scenario.name, job.method.name), seconds)
                    _say(console, _brought(job, seconds))
                told = len(standing.done)
                _move(bar, standing, known.left(standing, slots))
                lines.look("runs", (told, len(todo)), _at_work(standing, len(todo)), EVERY)
    return lacking + standing.failed


def show_failures(console: "Console", failed: Sequence[tuple[Job, str]]) -> None:
    """Print which jobs failed, and why."""
    for job, reason in failed:
        _say(console, f"failed: {job.name}: {reason}")


def _progress(console: "Console") -> "Progress":
    from rich import progress as bars

    return bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=None),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rest]}"),
        console=console,
        expand=True,
        disable=not console.is_terminal,
    )


def _move(bar: "Progress", standing: GridStatus, left: float | None) -> None:
    task = bar.task_ids[0]
    running = list(standing.running)
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    bar.update(
        task,
        description=running[0] + more if running else "",
        completed=len(standing.done) + len(standing.failed),
        rest="" if left is None else f"{duration(left)} left",
    )


def _at_work(standing: GridStatus, wanted: int) -> str:
    """Return in words how far the runs are."""
    done = len(standing.done) + len(standing.failed)
    return f"{done} of {wanted} runs have ended; at work: {', '.join(standing.running) or 'none'}"


def _brought(job: Job, seconds: float) -> str:
    try:
        outcome = outcome_of(job)
    except UserError as error:  # the others continue; the report will fail on this one
        return str(error)
    finals = [(p, outcome.metric("final_accuracy", p)) for p in PREDICTORS]
    numbers = ", ".join(f"{p} {percent(value)}" for p, value in finals if value is not None)
    return f"{job.name}: {numbers} % in {duration(seconds)}"


def _say(console: "Console", text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
