"""Worlds that many tests share; whoever needs another one builds it with ``worlds``."""

import pytest
from hypothesis import settings

from fedbridge.wire import Step
from worlds import Played, World, make_world, play, tiny_config

# a busy machine must not make a slow example a failure
settings.register_profile("fedbridge", deadline=None)
settings.load_profile("fedbridge")

SLOW = {"browser", "golden", "integration"}
"""Folders of tests that carry out whole runs or drive a browser."""
FIRST = (
    "test_deployed_run",
    "test_flower_engine",
    "test_snippets",
    "test_resume",
    "test_bench",
    "test_deployment",
    "test_estimate",
)
"""Files that take longest: begun last, one of them would keep a single process busy at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what only the full suite needs, and begin with what takes longest."""
    for item in items:
        if item.path.parent.name in SLOW:
            item.add_marker(pytest.mark.slow)
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(FIRST)))


@pytest.fixture(scope="session")
def world() -> World:
    """Two clients, two tasks of two classes, on blocks of light."""
    return make_world(tiny_config())


@pytest.fixture
def fresh(world: World) -> Played:
    """The federation before its first step."""
    return play(world, [])


@pytest.fixture
def after_one(world: World) -> Played:
    """The federation when the first task is over."""
    return play(world, [Step(1, 1), Step(1, 2)])


@pytest.fixture(scope="session")
def finished(world: World) -> Played:
    """The federation at its end, to be looked at but not to be changed."""
    return play(world)
