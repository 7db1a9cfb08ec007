"""Metrics of one's own: beside ours, kept with the run, and never in their way."""

import json
from importlib import import_module

import pytest

from fedbridge.core.errors import UserError
from fedbridge.core.metrics import AccuracyRow, Metric, summarise
from fedbridge.core.own_metrics import check_metric, described, own_metrics, with_own
from fedbridge.methods.files import parse_config
from strangers import at_home

NAME = "metrics_of_a_stranger"
MAIN = "class-incremental"
ROWS = [
    AccuracyRow(client, after, 1, predictor, MAIN, right, 10)
    for predictor, rights in (("small", (6, 9)), ("large", (8, 7)))
    for client, right in zip("ab", rights, strict=True)
    for after in (0, 1)
]


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch) -> str:
    return at_home(tmp_path, monkeypatch, NAME)


def found(*names: str):
    own = own_metrics([f"{NAME}:{name}" for name in names])
    return with_own(summarise(ROWS), ROWS, own)


def test_numbers_of_ones_own_stand_beside_ours():
    results, troubles = found("WORST", "LESS")
    assert troubles == []
    assert results["small"][MAIN][f"{NAME}:WORST"] == 0.6
    assert results["large"][MAIN][f"{NAME}:WORST"] == 0.7
    assert results["large"][MAIN][f"{NAME}:LESS"] == 0.25
    assert f"{NAME}:LESS" not in results["small"][MAIN]
    for predictor, protocols in summarise(ROWS).items():
        for name, value in protocols[MAIN].items():
            assert results[predictor][MAIN][name] == value


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("NOTHING", "cannot be used: ZeroDivisionError: division by zero"),
        ("WORDS", "must return a number, found str for small, class-incremental"),
    ],
)
def test_one_that_gives_no_number_is_named_and_the_others_are_kept(name, rule):
    results, troubles = found(name, "WORST")
    assert troubles == [f"track.metrics: {NAME}:{name} {rule}; all other numbers are kept"]
    assert results["small"][MAIN][f"{NAME}:{name}"] is None
    assert results["small"][MAIN][f"{NAME}:WORST"] == 0.6
    assert results["small"][MAIN]["final_accuracy"] == pytest.approx(0.75)
    json.dumps(results, allow_nan=False)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("nowhere:X", "there is no module 'nowhere'"),
        (f"{NAME}:WORSE", r"has no Metric 'WORSE' \(did you mean 'WORST'\?\)"),
        (f"{NAME}:worst", "must be a Metric, found function"),
    ],
)
def test_what_is_no_metric_is_refused(name, rule):
    with pytest.raises(UserError, match=f"^track.metrics: .*{rule}"):
        own_metrics([name])


def test_ours_need_not_be_named():
    with pytest.raises(UserError, match=r"track.metrics.*must be MODULE:NAME; the metrics of"):
        parse_config({"track": {"metrics": ["forgetting"]}}, "x")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"measure": 3}, "measure must be a function, found int"),
        ({"better": "more"}, "better must be 'higher' or 'lower', found 'more'"),
        ({"predictors": ("tiny",)}, "predictors must be of"),
        ({"predictors": ()}, "predictors must be of"),
    ],
)
def test_a_spec_that_means_nothing_is_refused(changes, rule):
    fields = {"measure": len, "title": "t", "summary": "s"} | changes
    with pytest.raises(ValueError, match=rule):
        Metric(**fields)


def test_what_a_run_says_of_them_needs_no_module():
    own = own_metrics([f"{NAME}:LESS"])
    assert described(own) == {
        f"{NAME}:LESS": {
            "title": "less",
            "summary": "a quarter",
            "better": "lower",
            "signed": False,
            "predictor": "large",
        }
    }


def test_the_contract_tells_what_is_not_kept():
    theirs = import_module(NAME)
    check_metric(theirs.WORST)
    with pytest.raises(UserError, match="ZeroDivisionError"):
        check_metric(theirs.NOTHING)
    with pytest.raises(AssertionError, match="title and summary"):
        check_metric(Metric(lambda table: 0.0, "", ""))
    numbers = iter(range(100))
    with pytest.raises(AssertionError, match="the same number every time"):
        check_metric(Metric(lambda table: next(numbers), "counts", "calls"))
