"""A run in lines, for where no terminal can move: what is new, and not more often than need be."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fedbridge.core.wording import duration
from fedbridge.runs.live.standing import RunStatus
from fedbridge.runs.progress import Progress

Say = Callable[[str], None]
SHORT = 2.0  # seconds that a phase must have lasted to be worth a line
EVERY = 10.0  # seconds between two lines of one phase, if it is a tenth further by then
LONG = 60.0  # seconds after which a phase without progress is reported again
LOOK = 0.5  # seconds between two looks


class Lines:
    """Says what is going on: a phase that lasts, then every tenth of it, at most every so often."""

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._phase: object = None
        self._began = self._told = clock()
        self._share: float | None = None  # of the phase that was done when it was last told

    def look(
        self, phase: object, counted: tuple[int, int], words: str, patience: float | None = None
    ) -> None:
        """Note the current state; ``counted`` is how much of the phase is done, of how much.

        ``words`` are said first when the phase has lasted ``patience`` seconds, SHORT by default.
        """
        now = self._clock()
        if phase != self._phase:
            self._phase, self._began, self._share = phase, now, None
        share = counted[0] / counted[1] if counted[1] else 0.0
        gone = now - self._began
        if self._share is None:
            due = gone >= (SHORT if patience is None else patience)
        else:
            further = share >= self._share + 0.1
            due = now - self._told >= (EVERY if further else LONG)
        if due:
            left = f", about {duration(gone / share - gone)} left" if 0 < share < 1 else ""
            self._say(f"{words}, for {duration(gone)}{left}")
            self._told, self._share = now, share


@contextmanager
def spoken(standing: RunStatus, say: Say) -> Iterator[Callable[[Progress], None]]:
    """Print lines about a run's progress while the block runs; yield what to call after a step."""
    lines = Lines(say)

    def look() -> None:
        patience = None if standing.step is None else EVERY  # steps are reported as they end
        phase = standing.phase, standing.step
        lines.look(phase, standing.counted, standing.doing, patience)

    with _looking(look):
        yield lambda progress: say(_step(standing, progress))


@contextmanager
def patient(say: Say) -> Iterator[None]:
    """Print what the package logs, if the work takes a while."""
    lines, log, newest = Lines(say), logging.getLogger("fedbridge"), _Newest()
    log.addHandler(newest)
    log.setLevel(logging.INFO)
    try:
        with _looking(lambda: lines.look(newest.words, (0, 0), newest.words or "at work")):
            yield
    finally:
        log.removeHandler(newest)


class _Newest(logging.Handler):
    """Keeps what was logged last."""

    words = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.words = self.format(record)


@contextmanager
def _looking(look: Callable[[], None]) -> Iterator[None]:
    """Look again and again, beside what is done meanwhile."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _step(standing: RunStatus, progress: Progress) -> str:
    left, accuracy = standing.left(), progress.accuracy()
    place = f"task {progress.step.task} round {progress.step.round}"
    times = f"{duration(standing.elapsed)} gone"
    times += f", about {duration(left)} left" if left else ""
    # before the first measurement there is no accuracy
    return f"{place}: {accuracy}; {times}" if accuracy else f"{place}: {times}"
