"""Shows a run while it goes: a picture where the terminal can move, else lines."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from fedbridge.runs.live.lines import spoken
from fedbridge.runs.live.picture import picture
from fedbridge.runs.live.standing import RunStatus
from fedbridge.runs.live.watching import watched
from fedbridge.runs.progress import Progress
from fedbridge.runs.runner import Experiment

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[Progress], None]


@contextmanager
def display(experiment: Experiment, console: "Console") -> Iterator[Show]:
    """Yield what to call after every step; meanwhile the console shows the run's progress."""
    standing = _followed(experiment)
    with logged(console), _shown(standing, console) as show:
        yield _advancing(experiment, standing, show)


@contextmanager
def told(experiment: Experiment, say: Callable[[str], None]) -> Iterator[Show]:
    """Yield what to call after every step; meanwhile the run's progress is printed in lines."""
    standing = _followed(experiment)
    with spoken(standing, say) as show:
        yield _advancing(experiment, standing, show)


def _followed(experiment: Experiment) -> RunStatus:
    standing = RunStatus(experiment.config)
    experiment.tell = standing.encode
    experiment.connect = watched(experiment.connect, standing)
    return standing


def _advancing(experiment: Experiment, standing: RunStatus, show: Show) -> Show:
    def advance(progress: Progress) -> None:
        standing.advance(progress, experiment.run.events())
        show(progress)

    return advance


@contextmanager
def logged(console: "Console") -> Iterator[None]:
    """Show what the package says meanwhile, such as which download is under way."""
    log, handler = logging.getLogger("fedbridge"), _Spoken(console)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Spoken(logging.Handler):
    """Prints what is logged as lines, which nothing breaks."""

    def __init__(self, console: "Console") -> None:
        super().__init__()
        self._say = saying(console)

    def emit(self, record: logging.LogRecord) -> None:
        self._say(self.format(record))


def saying(console: "Console") -> Callable[[str], None]:
    """Return what prints a text as it is on a console."""
    return partial(console.print, markup=False, highlight=False, soft_wrap=True)


def _shown(standing: RunStatus, console: "Console") -> AbstractContextManager[Show]:
    if console.is_terminal and not console.is_dumb_terminal and not console.quiet:
        return _moving(standing, console)
    return spoken(standing, saying(console))


@contextmanager
def _moving(standing: RunStatus, console: "Console") -> Iterator[Show]:
    from rich.live import Live

    def now() -> object:
        return picture(standing, console.height)

    with Live(console=console, get_renderable=now, refresh_per_second=4) as live:  # type: ignore[arg-type]
        yield lambda progress: live.refresh()
