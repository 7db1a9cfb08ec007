"""A deployment that the tests of this folder share, and copies to be damaged."""

import shutil
from pathlib import Path

import pytest
from deployments import server_settings

from fedbridge.deploy.folder import init


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployment") / "fed"
    init(folder, server_settings("a", "b"), 365, {"config.toml": "seed = 3\n"})
    return folder


@pytest.fixture
def deployment(original: Path, tmp_path: Path) -> Path:
    """Return a copy with two clients, a and b."""
    return Path(shutil.copytree(original, tmp_path / "fed"))
