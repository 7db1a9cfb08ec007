"""What comes out of a run's folder predicts as the run itself was measured."""

import shutil

import pytest
from tiny_runs import STEPS, TREE, conduct, tiny

from fedbridge.core.errors import UserError
from fedbridge.core.saved import saving
from fedbridge.federation.setup import prepare
from fedbridge.inference import load_predictor
from fedbridge.inference.restore import predictor_at, predictor_of_run
from fedbridge.methods.files import parse_config
from fedbridge.runs.run import Run, read_accuracy


def stored(folder, client):
    """Return by task and predictor what was measured last of a client."""
    rows = [
        r for r in read_accuracy(folder) if (r.client, r.protocol) == (client, "class-incremental")
    ]
    last = max(row.after_task for row in rows)
    return {(r.on_task, r.predictor): r for r in rows if r.after_task == last >= r.on_task}


def measured(folder, client, one):
    """Return the same, measured anew by a predictor on the run's test items."""
    site = prepare(Run.open(folder).config)
    (stream,) = (s for s in site.streams.clients if s.name == client)
    found = {}
    for on, task in enumerate(stream.tasks, start=1):
        names = [site.dataset.classes[label] for label in site.dataset.labels[task.test]]
        for using in one.usable:
            found[on, using] = one.score(site.dataset.items[task.test], names, using)
    return found


def agree(folder, client, one):
    wanted = {place: row.accuracy for place, row in stored(folder, client).items()}
    assert measured(folder, client, one) == wanted
    for using in one.usable:
        assert one.about["accuracy"][using]["tasks"] == [wanted[on, using] for on in (1, 2, 3)]


@pytest.mark.parametrize("client", ["client-1", "client-2", "client-3"])
def test_a_predictor_is_as_right_as_its_run_said(whole, client):
    one = predictor_of_run(whole, client)
    assert one.usable == ("small", "large", "together")
    assert len(one.classes) == 6
    agree(whole, client, one)


def test_it_is_so_after_saving_without_the_run_and_the_data(whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    predictor_of_run(folder, "client-2").save(tmp_path / "saved")
    site = prepare(Run.open(folder).config)
    items = site.dataset.items[site.streams.clients[1].tasks[0].test]
    before = predictor_of_run(folder, "client-2").predict_proba(items).tolist()
    shutil.rmtree(folder)
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "nothing"))
    one = predictor_at(tmp_path / "saved")
    assert one.predict_proba(items).tolist() == before
    assert not (tmp_path / "nothing").exists()


def test_the_small_model_needs_no_foundation_model(whole, tmp_path, monkeypatch):
    predictor_of_run(whole, "client-1").save(tmp_path / "saved")
    site = prepare(Run.open(whole).config)
    items = site.dataset.items[:5]
    monkeypatch.setattr("fedbridge.inference.large.load_foundation", None)
    monkeypatch.setattr("fedbridge.inference.large.foundation", None)
    assert len(load_predictor(tmp_path / "saved").predict(items, "small")) == 5


@pytest.mark.parametrize("head", ["probe", "prototypes", "nearest-mean", "none"])
def test_other_heads_are_as_right_as_their_runs_said(tmp_path, head):
    conduct(tmp_path / "run", tiny(large={"head": head}))
    one = predictor_of_run(tmp_path / "run", "client-3")
    assert ("large" in one.usable) == (head != "none")
    agree(tmp_path / "run", "client-3", one)


def test_a_stopped_run_gives_what_it_has_learnt_so_far(tmp_path):
    conduct(tmp_path / "run", tiny(), until=STEPS // 3)
    one = predictor_of_run(tmp_path / "run", "client-1")
    assert len(one.classes) == 2
    wanted = {place: row.accuracy for place, row in stored(tmp_path / "run", "client-1").items()}
    found = measured(tmp_path / "run", "client-1", one)
    assert {place: found[place] for place in wanted} == wanted


def test_a_model_for_every_task_is_more_than_a_predictor_holds(tmp_path):
    named = {"learner": {"name": "fedweit"}, "fusion": {"name": "fedweit", "groups": True}}
    config = parse_config({**TREE, **named, "large": {"head": "none"}}, "per task")
    conduct(tmp_path / "run", config, until=1)
    with pytest.raises(UserError, match=r"learner\.name: must be one whose one model .*'fedweit'"):
        predictor_of_run(tmp_path / "run", "client-1")


def test_a_classifier_for_every_task_is_more_than_a_predictor_holds(tmp_path):
    conduct(tmp_path / "run", tiny(large={"head": "tail-anchors"}), until=1)
    with pytest.raises(UserError, match=r"large\.head: must be one that answers for all tasks"):
        predictor_of_run(tmp_path / "run", "client-1")


def test_what_is_missing_is_told(whole, tmp_path):
    with pytest.raises(UserError, match=r"client: name one .*: it has several"):
        predictor_of_run(whole)
    with pytest.raises(UserError, match="a run's folder must hold"):
        predictor_at(tmp_path)
    with saving(tmp_path / "exported", "exported model", {}):
        pass
    with pytest.raises(UserError, match=r"must hold a run, a site or .*, found: exported model"):
        predictor_at(tmp_path / "exported")
    Run.create(tmp_path / "new", tiny())
    with pytest.raises(UserError, match="must have a checkpoint"):
        predictor_of_run(tmp_path / "new", "client-1")
    predictor_of_run(whole, "client-1").save(tmp_path / "saved")
    with pytest.raises(UserError, match="holds the models of 'client-1' alone, found 'client-2'"):
        predictor_at(tmp_path / "saved", "client-2")
