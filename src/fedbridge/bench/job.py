"""A process for jobs, one after another: ``python -m fedbridge.bench.job RUNS``.

It imports what a run needs once, reads names of folders in RUNS, forks for each, and answers with
the exit code. Where forking is not safe it carries the run out itself and ends. All ends when
standard input does, so that nothing goes on after a parent that was killed.
"""

import atexit
import os
import signal
import sys
import threading
from pathlib import Path

from fedbridge.bench.grid import log_of
from fedbridge.core.errors import UserError
from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment
from fedbridge.runs.tracking import tracking


def main(runs: Path) -> int:
    """Carry out what is asked for until nothing more is, and return the exit code."""
    for line in sys.stdin:
        folder = runs / line.removesuffix("\n")
        child = os.fork() if sys.platform == "linux" else 0  # macOS: not after such imports
        if child == 0:
            code = _carry_out(folder)
            atexit._run_exitfuncs()  # temporary files go, trackers end
            os._exit(code)  # to take all down that was imported would cost a second
        print(_code(child), flush=True)
    return 0


def _code(child: int) -> int:
    """Wait for a forked process and return its exit code; a wish to end is handed on to it."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    _, status = os.waitpid(child, 0)
    signal.signal(signal.SIGTERM, before)
    return os.waitstatus_to_exitcode(status)


def _carry_out(folder: Path) -> int:
    """Carry a run out from where it is and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with log_of(folder).open("ab") as log, Path(os.devnull).open("wb") as nowhere:
        os.dup2(log.fileno(), sys.stderr.fileno())
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run = Run.open(folder)
        with tracking(run) as track:
            for progress in Experiment(run).run_steps():
                track(progress)
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is written meanwhile: returns when the parent is gone
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
