"""Shows a run while it goes: a picture where the terminal can move, else line by line."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fedbridge.experiment import Experiment
from fedbridge.live.picture import picture
from fedbridge.live.standing import Standing
from fedbridge.live.watching import watched
from fedbridge.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[Progress], None]


@contextmanager
def display(experiment: Experiment, console: "Console") -> Iterator[Show]:
    """Give what is to be told every step; meanwhile the console shows how the run stands."""
    standing = Standing(experiment.config)
    experiment.tell = standing.encode
    experiment.connect = watched(experiment.connect, standing)
    moving = console.is_terminal and not console.is_dumb_terminal and not console.quiet
    with logged(console), _moving(standing, console) if moving else _lines(console) as show:

        def advance(progress: Progress) -> None:
            standing.advance(progress, experiment.run.events())
            show(progress)

        yield advance


@contextmanager
def logged(console: "Console") -> Iterator[None]:
    """Show what the package says meanwhile, such as which download is under way."""
    from rich.logging import RichHandler

    log = logging.getLogger("fedbridge")
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def _moving(standing: Standing, console: "Console") -> Iterator[Show]:
    from rich.live import Live

    def now() -> object:
        return picture(standing, console.height)

    with Live(console=console, get_renderable=now, refresh_per_second=4) as live:  # type: ignore[arg-type]
        yield lambda progress: live.refresh()


@contextmanager
def _lines(console: "Console") -> Iterator[Show]:
    def line(progress: Progress) -> None:
        step = progress.step
        accuracy = progress.accuracy()  # before the first measurement there is none
        place = f"task {step.task} round {step.round}"
        console.print(f"{place}: {accuracy}" if accuracy else place)

    yield line
