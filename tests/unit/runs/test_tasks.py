import numpy as np
import pytest

from fedbridge.data.streams.scenario import ClientStream, StatedStream, Streams, Task
from fedbridge.methods.files import parse_config
from fedbridge.runs.data_check import tasks_of
from fedbridge.runs.tasks import own_tasks_in_words, slot_of, tasks_in_words

NONE = np.zeros(0, np.int64)


def config(**scenario):
    return parse_config({"scenario": scenario}, "t")


def task(classes):
    return Task(tuple(range(classes)), NONE, NONE, NONE, NONE, tuple(range(classes)))


def test_tasks_are_counted_from_the_streams_by_slot():
    late = ClientStream("late", (task(2), task(3)), start=2, rounds=1)
    stated = StatedStream("stated", (task(4), task(1)), slots=(1, 3))
    found = tasks_of(Streams(NONE, (late, stated)), 3)
    assert found == {"late": {2: 2, 3: 3}, "stated": {1: 4, 3: 1}}
    assert [slot_of(found, "late", n) for n in (0, 1, 2)] == [0, 2, 3]
    assert slot_of(found, "stated", 2) == 3 and slot_of(found, "unknown", 2) == 2


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ({"a": {1: 2}, "b": {1: 2}}, "1 task of 2 classes"),
        ({"a": {1: 1, 2: 1}}, "2 tasks of 1 class"),
        ({"a": {1: 4, 3: 1}, "b": {2: 3}}, "1 to 2 tasks of 1 to 4 classes"),
    ],
)
def test_what_there_is_comes_before_what_the_settings_say(tasks, words):
    assert tasks_in_words(tasks, config(kind="given", tasks=3)) == words
    assert tasks_in_words(tasks, config(tasks=3, classes_per_task=9)) == words


def test_a_default_is_never_told_as_a_fact():
    assert (
        tasks_in_words({}, config(kind="given", tasks=3)) == "up to 3 tasks, as the data have them"
    )
    site = {"name": "site", "clients": ["a"], "classes": ["x", "y"], "modality": "text",
            "public": "none", "public_items": 4}  # fmt: skip
    at_sites = parse_config({"data": site, "scenario": {"clients": 1, "tasks": 1}}, "t")
    assert tasks_in_words({}, at_sites) == "up to 1 task, as the sites have them"
    drawn = config(tasks=3, classes_per_task=2, repeats=1, joins=[1, 2])
    assert tasks_in_words({}, drawn) == "up to 4 tasks of 2 classes, 1 of them repeated"
    assert own_tasks_in_words({1: 2, 4: 3}) == "2 tasks of 2 to 3 classes"
