"""A place for a suite file and its results."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from suites import BASE, ENDS, SUITE, Bench, write

from fedbridge.bench import pool


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
            with pool._log(job).open("wb") as log:
                return subprocess.Popen(
                    [sys.executable, "-c", script, str(job.folder)],
                    stdin=subprocess.PIPE,
                    stderr=log,
                )

        monkeypatch.setattr(pool, "_process", process)
        return started

    return acting
