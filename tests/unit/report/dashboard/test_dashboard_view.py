from urllib.parse import parse_qsl, urlsplit

import pytest

from fedbridge.report.dashboard.catalogue import Catalogue
from fedbridge.report.dashboard.charts import LETTERS, STYLES, Charts, apart, overlay
from fedbridge.report.dashboard.view import KEYS, MOST, View, choices
from growing_runs import write_run


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "one", seed=2, name="ours", lift=1)
    write_run(root / "two", seed=10, name="ours", data={"name": "emoji"})
    write_run(root / "three", done=1, name="theirs", learner={"name": "replay"}, lift=-1)
    write_run(root / "four", done=0, name="theirs")
    (root / "four/accuracy.csv").write_text("?")
    return list(Catalogue([root]).entries().values())


def of(text):
    return View.of(parse_qsl(text))


def shown(text, entries):
    return [entry.label for entry in of(text).rows(entries)]


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("sort=run", ["four", "one", "three", "two"]),
        ("sort=run&words=OURS", ["one", "two"]),
        ("sort=run&words=replay", ["three"]),
        ("sort=run&words=seed 2 digits", ["one"]),
        ("sort=run&state=finished", ["one", "two"]),
        ("sort=run&state=broken", ["four"]),
        ("sort=run&data=emoji&method=ours", ["two"]),
        ("sort=run&seed=10", ["two"]),
        ("sort=run&words=nothing", []),
        ("sort=run&state=nonsense", []),
        ("sort=seed", ["three", "one", "two", "four"]),  # 2 before 10; unknown last
        ("sort=seed&rising=0", ["two", "one", "three", "four"]),
        ("sort=together", ["one", "three", "two", "four"]),  # 90, then 80 twice: 3 of 2 tasks
        ("sort=state", ["one", "two", "three", "four"]),
    ],
)
def test_filtered_and_sorted(query, labels, entries):
    assert shown(query, entries) == labels


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("rising", [0, 1])
def test_every_column_can_be_sorted_by(key, rising, entries):
    assert set(shown(f"sort={key}&rising={rising}", entries)) == {e.label for e in entries}


@pytest.mark.parametrize("query", ["sort=nonsense", "predictor=nonsense", "rising=x", "chosen="])
def test_what_is_unknown_counts_as_not_said(query):
    view = of(query)
    assert (view.sort, view.rising, view.predictor) == ("changed", False, "together")


def test_an_address_says_the_same_again():
    view = of("words=a %26b&state=running&sort=seed&rising=0&chosen=x&chosen=y&chosen=x")
    assert view.chosen == ("x", "y")
    assert View.of(parse_qsl(urlsplit(view.address("/compare")).query)) == view


def test_a_column_is_sorted_the_other_way_round_when_asked_again():
    view = of("")
    view = View.of(parse_qsl(urlsplit(view.sorted_by("seed")).query))
    assert (view.sort, view.rising) == ("seed", True)
    view = View.of(parse_qsl(urlsplit(view.sorted_by("seed")).query))
    assert (view.sort, view.rising) == ("seed", False)


def test_choices_are_what_runs_have(entries):
    assert choices(entries) == {
        "state": ["broken", "finished", "stopped"],
        "method": ["ours", "theirs"],
        "data": ["digits", "emoji"],
        "seed": ["0", "10", "2"],
    }


# -- the picture of several runs


def test_as_many_runs_as_can_be_told_apart():
    assert len(LETTERS) == MOST
    assert len(STYLES) == MOST
    # markers alone tell runs of one kind of line apart, in whatever colour they are seen
    looks = [(marker, str(line)) for _, marker, line in STYLES]
    assert len(set(looks)) == len(STYLES)


def test_labels_lie_asunder_where_curves_meet():
    assert apart([1.0, 1.0, 1.0], 2.0) == [-1.0, 1.0, 3.0]
    assert apart([0.0, 5.0], 2.0) == [0.0, 5.0]
    assert apart([], 2.0) == []


def test_the_picture_says_what_it_shows():
    svg = overlay("x", {"A": [(1, 0.5), (2, 0.25)], "B": [], "C": [(1, 0.75)]}, "small")
    assert 'aria-label="Accuracy of small after each task. A: 50.0 % after task 1, 25.0 %' in svg
    assert "C: 75.0 % after task 1." in svg and "B:" not in svg


def test_pictures_are_drawn_once_until_something_changes(entries):
    charts = Charts()
    one, two = entries[:2]
    first = charts.compared([one, two], "small")
    assert charts.compared([one, two], "small") is first
    assert charts.compared([two, one], "small") is not first
    assert charts.compared([one, two], "large") is not first


def test_nothing_measured_is_no_picture(entries):
    (broken,) = (entry for entry in entries if entry.state == "broken")
    assert Charts().compared([broken], "small") is None
    assert Charts().of_run(broken) == {"tasks": "", "traffic": ""}
