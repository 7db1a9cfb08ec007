"""A standing as rich renders it: what is done, who does what, how good it is so far."""

from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedbridge.core.metrics import PREDICTORS
from fedbridge.core.wording import UNKNOWN, duration, percent, short, size
from fedbridge.runs.live.standing import RunStatus

if TYPE_CHECKING:
    from rich.console import RenderableType

FAULTS = 3  # the newest ones shown
REST = 8  # lines that are no clients'


def picture(standing: RunStatus, height: int) -> "RenderableType":
    """Return what the terminal shows of a standing, at most about ``height`` lines."""
    parts: list[RenderableType] = [
        _heading(standing),
        _bar(standing),
        Text(f"now: {standing.doing}"),
    ]
    if standing.seats:
        faults = min(FAULTS, len(standing.faults))
        parts.append(_clients(standing, max(3, height - REST - faults)))
    if standing.progress is not None:
        parts.append(_traffic(standing))
    parts += [Text(f"! {words}", style="bold") for words in standing.faults[-FAULTS:]]
    return Group(*parts)


def _heading(standing: RunStatus) -> Text:
    config = standing.config
    facts = f"{config.data.title}, {config.learner.name} + {config.fusion.name}, seed {config.seed}"
    return Text.assemble((short(config.name, 40), "bold"), f"  {facts}", no_wrap=True)


def _bar(standing: RunStatus) -> Table:
    progress, step = standing.progress, standing.step
    done, total = (progress.done, progress.total) if progress else (0, 1)
    tasks, rounds = standing.config.scenario.slots, standing.config.training.rounds
    place = f"task {step.task}/{tasks} round {step.round}/{rounds}" if step else "before task 1"
    left = standing.left()
    rest = UNKNOWN if left is None else f"about {duration(left)}"
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    times = f"{duration(standing.elapsed)} gone, {rest} left"
    grid.add_row(place, ProgressBar(total=total, completed=done), times)
    return grid


def _clients(standing: RunStatus, most: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("client", overflow="ellipsis", no_wrap=True)
    table.add_column("task", justify="right")
    table.add_column("does", no_wrap=True)
    for predictor in PREDICTORS:
        table.add_column(predictor, justify="right", no_wrap=True)
    shown = list(standing.seats.items())
    shown = shown if len(shown) <= most else shown[: most - 1]
    for name, seat in shown:
        accuracies = [percent(seat.accuracy.get(predictor)) for predictor in PREDICTORS]
        task = str(seat.task) if seat.task else UNKNOWN
        table.add_row(escape(short(name, 24)), task, seat.doing, *accuracies)
    if len(shown) < len(standing.seats):
        table.add_row(f"and {len(standing.seats) - len(shown)} more", "", "", "", "", "")
    means = standing.progress.means() if standing.progress else {}
    cells = [f"{percent(means.get(predictor))} %" for predictor in PREDICTORS]
    table.add_row("all", "", "", *(cells if means else [UNKNOWN] * 3), style="bold")
    return table


def _traffic(standing: RunStatus) -> Text:
    assert standing.progress is not None
    up, down = size(standing.progress.bytes_up), size(standing.progress.bytes_down)
    refused = standing.progress.refused
    more = f", {refused} uploads refused" if refused else ""
    return Text(f"{up} up, {down} down{more}")
