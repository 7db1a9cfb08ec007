"""A place for one job at a time, with a process that is kept for the next."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from typing import IO

from fedbridge.bench.grid import Job, log_of

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Slot:
    """Has a process carry out a job, see ``job.py``, and the same process the next."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, job: Job) -> None:
        """Begin a job in its existing folder; raise OSError if that fails."""
        log_of(job.folder).write_bytes(b"")
        self._process = self._process or process_for(job)
        with contextlib.suppress(BrokenPipeError):  # ended already: ``code`` tells
            _pipe(self._process.stdin).write(os.fsencode(f"{job.name}\n"))

    def code(self) -> int | None:
        """Return the exit code of the job that was begun with last, None while it is at work."""
        assert self._process is not None
        if not select.select([_pipe(self._process.stdout)], [], [], 0)[0]:
            return None
        if answer := _pipe(self._process.stdout).readline():
            return int(answer)
        code = self._process.poll()
        if code is not None:  # it was the job, or has failed at more than one
            self.end()
        return code

    def ask_to_end(self) -> None:
        """Ask the job to end after its step."""
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        """Kill the process and all that it has started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with self._process:  # closes its pipes and waits for it
                self._process = None


def process_for(job: Job) -> subprocess.Popen[bytes]:
    """Start a process of one thread for a job and those after it."""
    with log_of(job.folder).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "fedbridge.bench.job", str(job.folder.parent)],
            bufsize=0,
            stdin=subprocess.PIPE,  # ends when we do, however that may be
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | dict.fromkeys(THREADS, "1"),
            start_new_session=True,  # Ctrl-C is for us; we pass it on
        )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
