"""One job in a process of its own: ``python -m fedbridge.bench.job RUN``.

It ends when its standard input does, so that nothing goes on after a parent that was killed.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from fedbridge.errors import UserError
from fedbridge.experiment import Experiment
from fedbridge.runs import Run
from fedbridge.tracking import tracking


def main(folder: Path) -> int:
    """Carry a run out from where it is and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run = Run.open(folder)
        with tracking(run) as track:
            for progress in Experiment(run).conduct():
                track(progress)
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written: returns when the parent is gone
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
