"""A stranger's data set, scenario and metric in whole runs: every engine gives one table."""

import csv
import json
from pathlib import Path

import pytest
from tiny_runs import conduct, table

from fedbridge import api
from fedbridge.core.errors import UserError
from fedbridge.inference.restore import predictor_of_run
from fedbridge.methods.files import parse_config
from fedbridge.report.run import compare_markdown, write_page
from fedbridge.runs.launch import launch
from fedbridge.runs.run import Run
from strangers import at_home, tree_of

NAME = "module_of_a_stranger"
WORST = f"{NAME}:WORST"


@pytest.fixture(scope="module")
def home(cache, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("home")
    at_home(folder, patch, NAME)
    patch.setenv("PYTHONPATH", "")  # processes find the module by the folder they are started in
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def alone(home) -> Path:
    conduct(home / "alone", parse_config(tree_of(NAME), "x"))
    return home / "alone"


def worst_by_hand(folder: Path, predictor: str) -> float:
    """Return what WORST says, from the table of a run's accuracies."""
    with (folder / "accuracy.csv").open(encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["predictor"] == predictor
            and row["protocol"] == "class-incremental"
            and row["after_task"] == "2"
        ]
    means = []
    for client in ("client-1", "client-2"):
        own = [float(row["accuracy"]) for row in rows if row["client"] == client]
        means.append(sum(own) / len(own))
    return min(means)


def test_a_run_keeps_the_number_of_a_metric_and_what_it_is(alone):
    summary = json.loads((alone / "summary.json").read_text())
    for predictor in ("small", "large", "together"):
        value = summary["results"][predictor]["class-incremental"][WORST]
        assert value == pytest.approx(worst_by_hand(alone, predictor))
    assert summary["metrics"][WORST]["title"] == "worst client"
    assert summary["data"] == f"{NAME}:STRIPES"


def test_pages_show_it_without_its_module(alone, home):
    (home / f"{NAME}.py").rename(home / "hidden")
    try:
        page = write_page(alone).read_text()
        assert "worst client" in page and "final accuracy of the client that has least" in page
        assert "small worst client" in compare_markdown([alone])
    finally:
        (home / "hidden").rename(home / f"{NAME}.py")


@pytest.mark.parametrize("engine", [{"workers": 2}, {"kind": "flower", "workers": 2}])
def test_every_engine_gives_the_same_table(alone, home, engine):
    tree = tree_of(NAME, engine={"device": "cpu"} | engine)
    folder = home / str(engine.get("kind", "workers"))
    with launch(folder, parse_config(tree, "x")) as experiment:
        for _ in experiment.run_steps():
            pass
    assert table(folder) == table(alone)
    results = [json.loads((f / "summary.json").read_text())["results"] for f in (folder, alone)]
    assert results[0] == results[1]


def test_a_run_goes_on_and_predicts(alone, home):
    conduct(home / "stopped", parse_config(tree_of(NAME), "x"), until=1)
    assert conduct(home / "stopped") == table(alone)
    assert Run.open(home / "stopped").config.scenario.options.model_extra == {"step": 2}
    assert predictor_of_run(alone, "client-1").classes


def test_check_and_inspect_know_it(home):
    assert api.check(tree_of(NAME)).parameters
    assert set(api.inspect(tree_of(NAME)).classes) == {"wide", "medium", "narrow", "fine"}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"data": {"name": f"{NAME}:STRIPE"}}, "data.name: .*did you mean 'STRIPES'"),
        ({"scenario": {"kind": f"{NAME}:TURN"}}, "scenario.kind: .*did you mean 'TURNS'"),
        ({"track": {"metrics": [f"{NAME}:WORTS"]}}, "track.metrics: .*did you mean 'WORST'"),
    ],
)
def test_what_is_not_there_is_refused_before_any_work(home, changes, rule):
    config = parse_config(tree_of(NAME, **changes), "x")
    folder = home / "refused"
    with pytest.raises(UserError, match=rule), launch(folder, config):
        pass
    assert not folder.exists()
    with pytest.raises(UserError, match=rule):
        api.check(config)
