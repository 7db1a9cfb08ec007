"""Scripts in processes of their own that need not load torch and fedbridge first.

A server that has loaded both, one for all tests of a process, forks them.
"""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["fedbridge.api", "fedbridge.runs.runner", "fedbridge.report.run"])
SECONDS = 900.0


class Done(NamedTuple):
    """How a script ended and what it said."""

    returncode: int | None
    stdout: str
    stderr: str


def carried_out(script: Path, **environment: str) -> Done:
    """Run a Python script in its folder, with more in its environment; a machine may be busy."""
    said = [script.with_suffix(end) for end in (".stdout", ".stderr")]
    process = FORKS.Process(target=_run, args=(script, environment, said))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    return Done(process.exitcode, *(path.read_text(encoding="utf-8") for path in said))


def _run(script: Path, environment: dict[str, str], said: list[Path]) -> None:
    for number, path in enumerate(said, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(script.parent)
    os.environ.update(environment)
    sys.argv = [str(script)]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
