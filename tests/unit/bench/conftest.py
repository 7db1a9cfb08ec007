"""A place for a suite file and its results."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from suites import BASE, ENDS, SUITE, Bench, write

from fedbridge.bench import slot
from fedbridge.bench.grid import log_of


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Return a function that writes a suite file of this text beside ``base.toml``."""
    write(tmp_path / "base.toml", BASE)

    def make(text: str = SUITE) -> Bench:
        return Bench(write(tmp_path / "grid.toml", text), tmp_path / "results" / "grid")

    return make


@pytest.fixture
def act(monkeypatch):
    """Have every job's process run the script that is given for its name."""
    started = []

    def acting(scripts):
        def process(job):
            started.append(job.name)
            script = scripts.get(job.name, ENDS)
            with log_of(job.folder).open("ab") as log:
                return subprocess.Popen(
                    [sys.executable, "-c", script, str(job.folder)],
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )

        monkeypatch.setattr(slot, "process_for", process)
        return started

    return acting
