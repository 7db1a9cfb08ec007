import json
import shutil

import numpy as np
import pytest

import fedbridge
from fedbridge.core.errors import UserError
from fedbridge.core.saved import digests
from fedbridge.methods.registry import LEARNERS
from worlds import blocks

SETTINGS = {
    "data": {"size": 16, "public_items": 16},
    "training": {"rounds": 1, "epochs": 8, "batch": 16},
    "small": {"dimension": 32},
}
PATCHES = {"model": "patches", "size": 16}


def client(learner="smcf", large=None, **more):
    return fedbridge.Client("mlp", range(8), large, learner, **(SETTINGS | more))


def items(*classes, test=False):
    """Return pictures of blocks ``(n, 1, 16, 16)`` as lists of arrays, and their classes."""
    data = blocks()
    chosen = np.isin(data.labels, classes) & ((np.arange(len(data)) % 4 == 0) == test)
    return data.inputs[chosen, 0], data.labels[chosen]


def taught(one, *tasks):
    for task in tasks:
        one.learn(*items(*task))
    return one


def test_it_learns_task_by_task_and_keeps_the_earlier_ones():
    one = client(large=PATCHES)
    assert one.classes == ()
    taught(one, (0, 1), (2, 3))
    assert one.classes == ("0", "1", "2", "3")
    for using in ("small", "large", "together"):
        assert one.score(*items(0, 1, 2, 3, test=True), using) > 0.8


@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_learns_alone_and_the_same_twice(learner):
    found = [taught(client(learner), (0, 1), (2, 3)) for _ in range(2)]
    x, y = items(2, 3, test=True)
    newest = found[0].predict_proba(x)[:, 2:].argmax(1) + 2  # some forget how to tell tasks apart
    assert (newest == y).mean() > 0.9
    assert np.array_equal(found[0].predict_proba(x), found[1].predict_proba(x))


@pytest.mark.parametrize("learner", ["smcf", "derpp", "ewc"])
def test_a_saved_client_goes_on_as_if_nothing_had_been(tmp_path, learner):
    one = taught(client(learner, PATCHES), (0, 1), (4, 5))
    one.save(tmp_path / "saved")
    other = fedbridge.load(tmp_path / "saved")
    x, _ = items(0, 1, 2, 3, 4, 5, test=True)
    assert np.array_equal(one.predict_proba(x), other.predict_proba(x))
    taught(one, (2, 3))
    taught(other, (2, 3))
    assert np.array_equal(one.predict_proba(x), other.predict_proba(x))
    assert other.classes == tuple("012345")


def test_only_what_is_needed_again_is_kept(tmp_path):
    one = taught(client({"name": "smcf", "memory": 3}), (0, 1), (2, 3))
    kept = one.saved()
    validation = sum(len(task.validation) for task in kept.tasks)
    assert len(kept.shelf["rows"]) == validation + 4 * 3
    assert len(kept.shelf["labels"]) == 4 * 30
    assert validation == 4 * 3


def test_what_it_predicts_is_from_all_that_it_has_learnt_by_then():
    one = taught(client(), (0, 1))
    x, _ = items(2, test=True)
    assert set(one.predict(x)) <= {"0", "1"}
    taught(one, (2, 3))
    assert one.predict(x) == ["2"] * len(x)


def test_of_every_class_an_item_is_left_to_learn_from():
    one = client(scenario={"validation": 0.9})
    x, y = items(0, 1, 2)
    chosen = [
        place for c, most in ((0, 1), (1, 3), (2, 20)) for place in np.flatnonzero(y == c)[:most]
    ]
    one.learn(x[chosen], y[chosen])
    (task,) = one.saved().tasks
    labels = y[chosen]  # 90 % of 1, 3 and 20 items are 1, 3 and 18
    assert np.bincount(labels[task.train]).tolist() == [1, 1, 2]
    assert np.bincount(labels[task.validation], minlength=3).tolist() == [0, 2, 18]


def test_another_seed_gives_another_model():
    x, _ = items(0, 1, test=True)
    found = [taught(client(seed=seed), (0, 1)).predict_proba(x) for seed in (0, 1)]
    assert not np.array_equal(*found)


def test_a_public_set_may_be_given(tmp_path):
    public, _ = items(6, 7)
    one = taught(client(large=PATCHES, public=public), (0, 1))
    assert len(one.saved().public[0]) == len(public)
    one.save(tmp_path / "saved")
    other = fedbridge.load(tmp_path / "saved")
    assert np.array_equal(other.saved().public[1], one.saved().public[1])


def test_texts_are_learnt():
    one = fedbridge.Client("bag", ["sun", "rain"], data={"public_items": 8}, training={"rounds": 8})
    x = [f"{word} {n}" for n in range(20) for word in ("bright warm", "wet cold")]
    one.learn(x, ["sun", "rain"] * 20)
    assert one.predict(["warm and bright", "cold and wet"]) == ["sun", "rain"]


def test_its_predictor_stands_alone(tmp_path):
    one = taught(client(), (0, 1))
    one.predictor.save(tmp_path / "p")
    x, _ = items(0, 1, test=True)
    assert fedbridge.load(tmp_path / "p").predict(x) == one.predict(x)


def test_a_start_from_the_foundation_model_is_taken():
    x, _ = items(0, 1, test=True)
    starts = ({"small": {"dimension": 32, "warm_epochs": epochs}} for epochs in (0, 15))
    found = [taught(client(large=PATCHES, **start), (0, 1)) for start in starts]
    assert not np.array_equal(*(one.predict_proba(x, "small") for one in found))


@pytest.mark.parametrize(
    "arguments, settings, told",
    [
        (("none", range(8)), {}, "model: must be one of cnn"),
        (("cnn", range(1)), {}, "data.classes"),
        (("cnn", [1, 1]), {}, "data.classes must name each once"),
        (("cnn", range(8), {"head": "probe"}), {}, "since the others need a server"),
        (("cnn", range(8)), {"training": {"epoch": 3}}, "did you mean 'epochs'"),
        (("cnn", range(8), None, "nothing"), {}, "learner"),
        (("cnn", range(8)), {"data": {"name": "digits"}}, "fedbridge.Client: "),
        (("bag", range(8), "patches"), {}, "large.model: patches reads pictures"),
    ],
)
def test_settings_that_do_not_fit_are_refused(arguments, settings, told):
    with pytest.raises(UserError, match=told):
        fedbridge.Client(*arguments, **settings)


def test_wrong_tasks_are_refused_before_anything_is_learnt():
    one, (x, y) = client(), items(0, 1)
    for wrong, told in (
        ((x, y[:-1]), "y: must name 60 classes as x has items, found 59"),
        ((x, [*y[:-1], 9]), r"y\[59\]: must be one of 0, 1, .* found '9'"),
        ((x[:0], y[:0]), "x: must have at least one image"),
        ((x * 0.9, y), r"x\[0\]: cannot be read as a picture: float64 from"),
    ):
        with pytest.raises(UserError, match=told):
            one.learn(*wrong)
    with pytest.raises(UserError, match="has learnt nothing yet"):
        one.predict(x)
    assert one.learn(x, y).classes == ("0", "1")


def test_a_damaged_folder_is_refused(tmp_path):
    taught(client(), (0, 1)).save(tmp_path / "saved")
    forged = tmp_path / "forged"
    shutil.copytree(tmp_path / "saved", forged)
    (forged / "client.json").write_text("{}")
    with pytest.raises(UserError, match=r"client\.json: has changed"):
        fedbridge.load(forged)
    manifest = json.loads((forged / "manifest.json").read_text())
    (forged / "manifest.json").write_text(json.dumps(manifest | {"files": digests(forged)}))
    with pytest.raises(UserError, match="cannot be read as a client"):
        fedbridge.load(forged)


def test_classes_are_words_whatever_holds_them():
    import torch

    one = client()
    x, y = items(0, 1)
    numbers = torch.tensor(y)
    one.learn(x, numbers)
    assert one.classes == ("0", "1")
    assert one.score(x, numbers.double()) == one.score(x, y) == one.predictor.score(x, numbers)
    with pytest.raises(UserError, match=r"hand over y.argmax\(1\)"):
        one.learn(x, torch.eye(2)[numbers])
