"""Tasks that were taken stay as they were, and items keep their numbers."""

import numpy as np
import pytest

from fedbridge.core.errors import UserError
from fedbridge.data.dataset import Dataset
from fedbridge.data.readers.preparing import InputSpec
from fedbridge.data.site.holding import Holding
from sites import common, rows, site, task, write_csv

FRAME = InputSpec.of(common())


@pytest.fixture
def settings(tmp_path):
    task(tmp_path / "p" / "a", ["cat", "dog"])
    task(tmp_path / "p" / "b", ["eel", "fox"])
    return site(tmp_path, kind="images", path="p", layout="task/class/file")


def whole(settings, frame: InputSpec = FRAME) -> Holding:
    holding = Holding(settings, frame)
    while holding.take():
        pass
    return holding


def test_every_item_is_in_one_part_of_one_task(settings):
    holding = whole(settings)
    parts = [p for t in holding.tasks for p in (t.train, t.validation, t.test)]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(100))
    assert [task.classes for task in holding.tasks] == [(0, 1), (2, 3)]
    for one in holding.tasks:
        assert set(holding.labels[one.train].tolist()) == set(one.classes) == set(one.met)


def test_items_are_found_by_their_numbers_across_tasks(settings):
    holding = whole(settings)
    asked = np.array([70, 3, 51, 3])
    every = np.concatenate([dataset.inputs for dataset in holding.datasets])
    assert np.array_equal(holding.inputs_of(asked), every[asked])
    assert np.array_equal(holding.items_of(asked), every[asked])  # of the same size here
    assert holding.inputs_of(asked[:0]).shape == (0, 3, 16, 16)


def test_texts_are_found_by_their_numbers(tmp_path):
    write_csv(tmp_path / "t.csv", rows(80))
    text = site(tmp_path, kind="csv", path="t.csv", text="text", task="task")
    holding = whole(text, InputSpec.of(common("text")))
    every = [str(item) for dataset in holding.datasets for item in dataset.items]
    assert holding.items_of(np.array([45, 2])) == (every[45], every[2])


def test_a_task_that_was_taken_stays_as_it_was(tmp_path, settings):
    before = whole(settings)
    task(tmp_path / "p" / "a", ["cat"], seed=5)
    (tmp_path / "p" / "b" / "fox" / "0-0.png").unlink()
    after = whole(settings)
    assert np.array_equal(after.labels, before.labels)
    assert np.array_equal(after.inputs_of(np.arange(100)), before.inputs_of(np.arange(100)))


def test_a_new_task_is_added_after_those_that_were_taken_whatever_its_name(tmp_path, settings):
    before = whole(settings)
    task(tmp_path / "p" / "0", ["cat", "fox"])
    after = whole(settings)
    assert [dataset.domain_names[0] for dataset in after.datasets] == ["a", "b", "0"]
    assert np.array_equal(after.labels[:100], before.labels)
    for one, other in zip(before.tasks, after.tasks, strict=False):
        assert np.array_equal(one.test, other.test)


def test_other_settings_read_anew(tmp_path, settings):
    before = whole(settings)
    other = whole(settings, InputSpec.of(common(data={"size": 32})))
    assert other.folder != before.folder
    assert other.inputs_of(np.arange(2)).shape == (2, 3, 32, 32)


def test_it_goes_back_to_fewer_tasks_and_takes_the_same_again(settings):
    holding = whole(settings)
    before = holding.labels
    holding.keep(1)
    assert (len(holding.tasks), len(holding.labels)) == (1, 50)
    assert holding.take()
    assert np.array_equal(holding.labels, before)


def test_tasks_that_were_learnt_must_be_there(settings):
    holding = Holding(settings, FRAME)
    holding.take()
    with pytest.raises(UserError, match="has learnt 2 tasks, but task 2 is not there"):
        holding.keep(2)


def test_a_refused_task_leaves_nothing_behind(settings):
    def admit(dataset: Dataset) -> None:
        raise UserError(f"not {dataset.domain_names[0]}")

    holding = Holding(settings, FRAME, admit)
    with pytest.raises(UserError, match="not a"):
        holding.take()
    assert not holding.folder.exists()
    assert whole(settings).labels.size == 100


def test_what_it_keeps_is_for_its_owner_only(settings):
    whole(settings)
    assert settings.state.stat().st_mode & 0o077 == 0


def test_a_client_does_not_go_on_with_items_that_were_read_otherwise(tmp_path, settings):
    from fedbridge.data.site.arriving import WholeStream

    def stream(of) -> WholeStream:
        holding = whole(of)
        return WholeStream("north", holding.tasks, holding=holding)

    first = stream(settings)
    stream(settings).load(first.state())
    task(tmp_path / "p" / "c", ["cat", "dog"])
    stream(settings).load(first.state())  # a task has come
    (tmp_path / "p" / "a" / "cat" / "0-0.png").unlink()
    other = settings.model_copy(update={"data": settings.data.model_copy(update={"seed": 1})})
    with pytest.raises(UserError, match="has learnt from items that were read otherwise"):
        stream(other).load(first.state())


def test_a_site_without_a_task_yet_has_nothing_to_compare(settings):
    from fedbridge.data.site.arriving import WholeStream

    holding = Holding(settings, InputSpec.of(common()))
    WholeStream("north", holding.tasks, holding=holding).load([])


def test_tables_of_an_older_release_are_not_gone_on_with(tmp_path):
    from fedbridge.data.site.arriving import WholeStream

    write_csv(tmp_path / "t.csv", rows(80))
    text = site(tmp_path, kind="csv", path="t.csv", text="text", task="task")
    holding = whole(text, InputSpec.of(common("text")))
    with pytest.raises(UserError, match="or by the rules of an older release"):
        WholeStream("north", holding.tasks, holding=holding).load([])


def test_other_rules_for_tables_are_another_folder(tmp_path, monkeypatch):
    write_csv(tmp_path / "t.csv", rows(80))
    text = site(tmp_path, kind="csv", path="t.csv", text="text", task="task")
    before = whole(text, InputSpec.of(common("text"))).folder
    monkeypatch.setattr("fedbridge.data.site.holding.RULES", 99)
    assert whole(text, InputSpec.of(common("text"))).folder != before
