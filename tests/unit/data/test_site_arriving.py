"""Live streams: a task at most in each slot, the same tasks after a restart."""

import logging

import numpy as np
import pytest

from fedbridge.data.readers.preparing import InputSpec
from fedbridge.data.site.arriving import LiveStream
from fedbridge.data.site.holding import Holding
from sites import common, site, task

FRAME = InputSpec.of(common())


@pytest.fixture
def arriving(tmp_path):
    """A site to which tasks come, and what builds its stream anew."""
    (tmp_path / "p").mkdir()
    layout = {"layout": "task/class/file", "live": True}
    settings = site(tmp_path, kind="images", path="p", **layout)
    return tmp_path / "p", lambda: LiveStream("north", Holding(settings, FRAME))


def arrive(folder, name: str, labels=("cat", "dog")) -> None:
    task(folder / name, labels)
    (folder / name / "_DONE").touch()


def test_nothing_is_there_at_first(arriving, caplog):
    _, build = arriving
    stream = build()
    assert not stream.takes_part(1, 1, 2)
    assert (stream.own_task(1), stream.tasks, stream.seen(0)) == (0, (), [])


def test_a_task_begins_in_the_slot_in_which_it_is_found(arriving):
    folder, build = arriving
    stream = build()
    arrive(folder, "a")
    assert stream.takes_part(1, 1, 2)
    assert stream.takes_part(1, 2, 2)
    assert not stream.takes_part(2, 1, 2)
    arrive(folder, "b", ("eel", "cat"))
    assert not stream.takes_part(2, 2, 2)  # it has looked in this slot
    assert stream.takes_part(3, 1, 2)
    assert [stream.own_task(slot) for slot in range(5)] == [0, 1, 1, 2, 2]
    assert (stream.seen(1), stream.seen(2)) == ([0, 1], [0, 1, 2])


def test_a_slot_takes_one_task_though_more_are_waiting(arriving):
    folder, build = arriving
    for name in "abc":
        arrive(folder, name)
    stream = build()
    assert [stream.takes_part(slot, 1, 1) for slot in (1, 2, 3, 4)] == [True, True, True, False]
    assert [stream.own_task(slot) for slot in (1, 2, 3, 4)] == [1, 2, 3, 3]


def test_a_task_without_marker_is_not_taken(arriving):
    folder, build = arriving
    task(folder / "a", ["cat", "dog"])
    stream = build()
    assert not stream.takes_part(1, 1, 1)
    (folder / "a" / "_DONE").touch()
    assert stream.takes_part(2, 1, 1)


def test_to_measure_takes_nothing(arriving):
    folder, build = arriving
    arrive(folder, "a")
    stream = build()
    assert (stream.own_task(0), stream.own_task(1), len(stream.tasks)) == (0, 0, 0)


def test_a_restart_gives_the_same_tasks_in_the_same_slots(arriving):
    folder, build = arriving
    stream = build()
    stream.takes_part(1, 1, 1)
    arrive(folder, "b")
    stream.takes_part(2, 1, 1)
    kept = stream.state()
    arrive(folder, "a")  # would come first, had it been there
    again = build()
    again.load(kept)
    assert [again.own_task(slot) for slot in (1, 2, 3)] == [0, 1, 1]
    assert not again.takes_part(1, 1, 1)
    assert again.takes_part(2, 1, 1)
    assert np.array_equal(again.tasks[0].train, stream.tasks[0].train)
    assert again.takes_part(3, 1, 1)


def test_going_back_a_slot_takes_the_same_task_again(arriving):
    folder, build = arriving
    stream = build()
    before = stream.state()
    arrive(folder, "b")
    stream.takes_part(1, 1, 1)
    first = stream.tasks[0].test
    arrive(folder, "a")
    stream.load(before)
    assert stream.takes_part(1, 1, 1)
    assert np.array_equal(stream.tasks[0].test, first)


def test_a_task_that_cannot_be_used_is_told_and_the_stream_goes_on(arriving, caplog):
    folder, build = arriving
    arrive(folder, "a")
    broken = folder / "a" / "cat" / "broken.png"
    broken.write_bytes(b"no picture")
    stream = build()
    with caplog.at_level(logging.WARNING, "fedbridge"):
        assert not stream.takes_part(1, 1, 1)
    assert "north: a new task cannot be taken" in caplog.text
    assert "broken.png" in caplog.text
    broken.unlink()
    assert stream.takes_part(2, 1, 1)
