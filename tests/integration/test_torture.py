"""Runs that are killed a few times at random moments; ``make torture`` does so a hundred times."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "torture.py"


@pytest.fixture
def scratch():
    """Give a folder whose path is short, as sockets need it."""
    folder = tempfile.mkdtemp(prefix="t-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform != "linux", reason="forks after imports, and reads /proc")
@pytest.mark.parametrize(("workers", "kills"), [(0, 6), (2, 2)])
def test_killed_at_random_moments_a_run_ends_as_if_nothing_had_happened(scratch, workers, kills):
    words = ["--kills", str(kills), "--workers", str(workers), "--seed", "7"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        env=os.environ | {"TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"\n{kills} kills, " in done.stdout and done.stdout.endswith(" 0 faults\n")
    assert list(scratch.iterdir()) == []
