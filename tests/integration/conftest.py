"""One cache for all integration tests, and one whole run to compare others with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_runs import conduct, tiny


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(folder))
        yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that nothing disturbed, in this process."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    conduct(folder, tiny())
    return folder
