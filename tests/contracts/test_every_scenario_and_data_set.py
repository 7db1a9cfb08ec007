"""What every data set, scenario and metric must keep to; a new entry is tested on arrival."""

from importlib import import_module

import pytest

from fedbridge.config import FreeOptions, Scenario
from fedbridge.core.metrics import METRICS
from fedbridge.core.own_metrics import check_metric
from fedbridge.data import DATASETS
from fedbridge.data.contracts import check_dataset, check_scenario
from fedbridge.data.streams.scenario import SCENARIOS
from strangers import at_home

SHARED = {"clients": 2, "tasks": 2}
SETTINGS = {
    "drawn": SHARED,
    "skewed": SHARED | {"alpha": 0.1},
    "one client": SHARED | {"clients": 1},
    "all data so far": SHARED | {"history": "own"},
}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
@pytest.mark.parametrize("case", sorted(SETTINGS))
def test_scenario(name, case):
    check_scenario(SCENARIOS[name], Scenario(kind=name, **SETTINGS[case]))


@pytest.mark.parametrize("name", sorted(n for n, e in DATASETS.items() if not e.packages))
def test_data_set(name):
    check_dataset(DATASETS[name])


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_data_set_says_what_it_is(name):
    source = DATASETS[name]
    assert source.summary and source.licences and source.domains


@pytest.mark.parametrize("name", sorted(METRICS))
def test_metric(name):
    check_metric(METRICS[name])


def test_strangers(tmp_path, monkeypatch):
    theirs = import_module(at_home(tmp_path, monkeypatch, "kept_contracts"))
    check_dataset(theirs.STRIPES, {"each": 10})
    check_scenario(theirs.TURNS)
    step = FreeOptions(step=3)
    check_scenario(theirs.TURNS, Scenario(kind="kept_contracts:TURNS", options=step, **SHARED))
    check_metric(theirs.WORST)
