"""A small, deterministic run folder for every test of the report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from run_folders import write_run

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return a function that writes a run folder of a name."""

    def make(name: str = "run", **changes: Any) -> Path:
        return write_run(tmp_path / name, **changes)

    return make
