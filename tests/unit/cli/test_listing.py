"""What a config can name, ours and that of strangers, in rows and tables."""

import pytest
from rich.console import Console

import fedbridge
from fedbridge.cli.listing import listing
from fedbridge.core.errors import UserError
from fedbridge.core.metrics import METRICS
from fedbridge.data.streams.scenario import SCENARIOS
from strangers import at_home


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch) -> str:
    return at_home(tmp_path, monkeypatch, "listed_module")


def shown(what: str) -> str:
    console = Console(width=120)
    with console.capture() as text:
        console.print(listing(what))
    return text.get()


def test_all_scenarios_and_metrics_are_listed():
    rows = {row["name"]: row["what it is"] for row in fedbridge.available("scenarios")}
    assert rows == {name: kind.summary for name, kind in SCENARIOS.items()}
    rows = {row["name"]: row["what it is"] for row in fedbridge.available("metrics")}
    assert rows == {name: metric.summary for name, metric in METRICS.items()}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("STRIPES", ("a data set, for data.name", "stripes of four widths", "licences: mine")),
        ("STRIPES", ("options, in [data.options]", "each", "60", "Pictures of a width.")),
        ("TURNS", ("a scenario, for scenario.kind", "options, in [scenario.options]", "step")),
        ("LESS", ("a metric, for track.metrics", "better: lower", "a quarter", "no options")),
    ],
)
def test_something_of_ones_own_says_what_it_is(name, words):
    text = shown(f"listed_module:{name}")
    assert all(word in text for word in words)


def test_its_options_are_rows():
    assert fedbridge.available("listed_module:TURNS") == [
        {
            "option": "step",
            "values": "integer",
            "default": "1",
            "what it is": "How many classes later the next client begins.",
        }
    ]
    assert fedbridge.available("listed_module:WORST") == []


@pytest.mark.parametrize(
    ("what", "rule"),
    [
        ("listed_module:worst", "a DataSource, a ScenarioKind, a Metric, found function"),
        ("nowhere:X", "there is no module 'nowhere'"),
        ("scenario", "must be one of .*MODULE:NAME, found 'scenario'; did you mean 'scenarios'"),
    ],
)
def test_what_cannot_be_listed_is_refused(what, rule):
    with pytest.raises(UserError, match=rule):
        listing(what)
