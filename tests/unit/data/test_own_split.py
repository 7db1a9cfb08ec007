"""Own data that say themselves what is for training and what is the test."""

import shutil

import numpy as np
import pytest

from fedbridge.config import Own, Scenario
from fedbridge.core.errors import UserError
from fedbridge.data import from_arrays, load_dataset
from fedbridge.data.streams.scenario import build_scenario
from fedbridge.methods.files import parse_config
from sites import rows, task, write_csv


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))


def load(name, **own):
    return load_dataset(name, own=Own(**own))


def refused(name, **own) -> str:
    with pytest.raises(UserError) as caught:
        load(name, **own)
    return str(caught.value)


def items_tested(streams) -> set[int]:
    return {row for client in streams.clients for one in client.tasks for row in one.test.tolist()}


def items_learnt(streams) -> set[int]:
    tasks = [one for client in streams.clients for one in client.tasks]
    parts = [part for one in tasks for part in (one.own, one.train, one.validation)]
    return set(np.concatenate([*parts, streams.public]).tolist())


def test_folders_called_train_and_test(tmp_path):
    task(tmp_path / "p" / "test", ["cat", "dog"], 2, seed=1)
    task(tmp_path / "p" / "train", ["cat", "dog"], 3, seed=2)
    data = load(f"folder:{tmp_path / 'p'}", layout="split/class/file")
    assert data.classes == ("cat", "dog")
    said = [place.split("/")[0] == "test" for place in data.places]
    assert data.split.tolist() == said and sum(said) == 4


def test_folders_of_other_names_are_refused(tmp_path):
    for part in ("train", "val"):
        task(tmp_path / "p" / part, ["cat", "dog"], 2)
    assert refused(f"folder:{tmp_path / 'p'}", layout="split/class/file").endswith(
        "must have the folders 'train' and 'test', found 'train', 'val'"
    )


def test_a_column_says_it_and_other_words_are_broken_rows(tmp_path):
    made = [row | {"part": "Test" if n % 4 == 0 else "train"} for n, row in enumerate(rows(12))]
    path = write_csv(tmp_path / "t.csv", made)
    data = load(f"csv:{path}", text="text", split="part")
    assert data.split.tolist() == [n % 4 == 0 for n in range(12)]
    made[5]["part"], made[6]["part"] = "val", ""
    path = write_csv(tmp_path / "u.csv", made)
    message = refused(f"csv:{path}", text="text", split="part")
    assert "2 cannot be used" in message
    assert "line 7: column 'part' must say 'train' or 'test', found 'val'" in message
    assert "line 8: must have a value in column 'part', found none" in message
    assert len(load(f"csv:{path}", text="text", split="part", broken="skip")) == 10
    assert "did you mean 'part'?" in refused(f"csv:{path}", text="text", split="parts")


def test_without_it_the_test_is_drawn(tmp_path):
    path = write_csv(tmp_path / "t.csv", rows(8))
    assert load(f"csv:{path}", text="text").split is None


def arrays(count=120, **about):
    texts = [f"text number {n}" for n in range(count)]
    split = ["test" if n % 6 == 0 else "train" for n in range(count)]
    return from_arrays(texts, [n // 2 % 4 for n in range(count)], split=split, **about)


def test_the_scenario_builder_tests_these_items_and_no_others():
    data = load(arrays().name)
    official = set(np.flatnonzero(data.split).tolist())
    scenario = Scenario(clients=2, tasks=2, classes_per_task=2, public=0.1)
    streams = build_scenario(data, scenario, 0)
    met = {label for client in streams.clients for label in client.seen(2)}
    assert items_tested(streams) == {row for row in official if data.labels[row] in met}
    assert not items_learnt(streams) & official and len(streams.public)


def test_streams_that_the_data_state_test_these_items_and_no_others():
    data = load(arrays(tasks=[n // 60 for n in range(120)]).name)
    official = set(np.flatnonzero(data.split).tolist())
    streams = build_scenario(data, Scenario(kind="given", clients=2, tasks=2), 0)
    assert items_tested(streams) == official
    learnt = items_learnt(streams)
    assert not learnt & official and learnt <= set(range(120))
    assert len(streams.public) and all(len(one.own) for c in streams.clients for one in c.tasks)


def test_a_class_that_a_task_only_tests_is_left_out_there():
    labels, tasks = [0, 1] * 20 + [2] * 10 + [0, 1] * 20, [0] * 50 + [1] * 40
    split = ["test" if n % 5 == 0 or 40 <= n < 50 else "train" for n in range(90)]
    made = from_arrays([f"text {n}" for n in range(90)], labels, tasks=tasks, split=split)
    data = load(made.name)
    (client,) = build_scenario(data, Scenario(kind="given", clients=1, tasks=2), 0).clients
    assert client.tasks[0].met == (0, 1)
    assert set(data.labels[client.tasks[0].test]) == {0, 1}


def test_a_task_without_a_test_item_is_named():
    split = ["test" if n < 10 else "train" for n in range(80)]
    texts, tasks = [f"text {n}" for n in range(80)], [n // 40 for n in range(80)]
    data = load(from_arrays(texts, [n % 2 for n in range(80)], tasks=tasks, split=split).name)
    with pytest.raises(UserError, match=r"must have a test item .* found none in 1 of client-1"):
        build_scenario(data, Scenario(kind="given", clients=1, tasks=2), 0)


def test_equal_items_on_both_sides_are_refused_with_their_places(tmp_path):
    task(tmp_path / "p" / "test", ["cat", "dog"], 2, seed=1)
    task(tmp_path / "p" / "train", ["cat", "dog"], 3, seed=2)
    shutil.copy(tmp_path / "p" / "test" / "cat" / "1-0.png", tmp_path / "p" / "train" / "dog")
    name = f"folder:{tmp_path / 'p'}"
    assert refused(name, layout="split/class/file") == (
        f"{tmp_path / 'p'}: of 11 items 1 cannot be used: train/dog/1-0.png: must not be on both "
        f"sides: equals test/cat/1-0.png of the test. data.own.broken = 'skip' leaves them out"
    )
    data = load(name, layout="split/class/file", broken="skip")
    assert len(data) == 10 and "train/dog/1-0.png" not in data.places
    assert data.split.sum() == 4


def test_equal_contents_of_two_groups_are_on_one_side_too(tmp_path):
    made = [row | {"part": "test" if n % 4 == 0 else "train"} for n, row in enumerate(rows(12))]
    made[5]["text"] = made[4]["text"]
    path = write_csv(tmp_path / "t.csv", made)
    settings = {"text": "text", "split": "part", "group": "date"}
    assert "line 7: must not be on both sides: equals t.csv: line 6" in refused(
        f"csv:{path}", **settings
    )
    with pytest.raises(UserError, match="item 1: must not be on both sides: equals item 0 of the"):
        from_arrays(["x", "x", "y"], [0, 0, 1], split=["test", "train", "train"], groups=[1, 2, 3])


def test_groups_on_both_sides_are_refused_with_their_places():
    split = ["test" if n < 2 else "train" for n in range(40)]
    made = from_arrays(
        [f"text {n}" for n in range(40)],
        [n % 2 for n in range(40)],
        split=split,
        groups=[0, 1, 1, *range(3, 40)],
    )
    with pytest.raises(UserError) as caught:
        build_scenario(load(made.name), Scenario(clients=1, tasks=1), 0)
    assert str(caught.value).endswith(
        "found 1 with items in training and in test, such as item 1, item 2"
    )


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"split": ["train", "dev"]}, "split: item 1 must say 'train' or 'test', found 'dev'"),
        ({"split": ["train"]}, "split: must have a value for each of 2 items, found 1"),
        ({"spilt": ["train", "test"]}, "takes domains, tasks, groups, split, missing, found spilt"),
    ],
)
def test_arrays_that_say_something_else_are_refused(about, words):
    with pytest.raises(UserError, match=words):
        from_arrays(["a", "b"], [0, 1], **about)


def test_a_column_means_nothing_to_a_folder():
    tree = {"data": {"name": "folder:p", "own": {"split": "part"}}}
    with pytest.raises(UserError, match=r"data\.own\.split is only for data\.name = csv: or parq"):
        parse_config(tree, "test")
