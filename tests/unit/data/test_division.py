"""Scenarios of strangers: what they divide is checked, and said in the words of the field."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.data.contracts import check_scenario, made_up
from fedbridge.data.spec import Division, ScenarioKind, TaskItems
from fedbridge.data.streams.scenario import SCENARIOS, build_scenario, kind_of_scenario
from fedbridge.federation.setup import plan
from fedbridge.methods.files import parse_config
from strangers import at_home, tree_of

NAME = "turning_scenarios"
SPOILT = """
from dataclasses import replace
from fedbridge.data import Division, ScenarioKind

SPOIL = None

def divide(dataset, settings, options, seed):
    return SPOIL(dataset)

ANY = ScenarioKind(divide, "as the test says")
RAISES = ScenarioKind(lambda *given: {}["nothing"], "raises")
LIST = ScenarioKind(lambda *given: [1], "a list")
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch) -> str:
    return at_home(tmp_path, monkeypatch, NAME)


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def whole() -> dict[str, dict[int, TaskItems]]:
    """Return two clients' tasks among the items 0 to 39 of class a."""
    return {
        "one": {1: TaskItems(rows(0, 1), rows(2), rows(3)), 2: TaskItems(rows(4), rows(), rows(5))},
        "two": {1: TaskItems(rows(6), rows(), rows(7)), 2: TaskItems(rows(8), rows(), rows(9))},
    }


def divided(clients, public=None, **changes):
    """Return the streams of a division that a stranger's scenario makes."""
    settings = Scenario(kind="spoilt:ANY", **({"clients": 2, "tasks": 2} | changes))
    theirs = import_module("spoilt")
    theirs.SPOIL = lambda dataset: Division(rows(20, 21) if public is None else public, clients)
    return build_scenario(made_up(), settings, 0)


@pytest.fixture
def spoilt(tmp_path, monkeypatch) -> str:
    return at_home(tmp_path, monkeypatch, "spoilt", SPOILT)


def test_streams_are_what_the_stranger_says(spoilt):
    streams = divided(whole(), participation_rounds=(1, 2))
    assert streams.public.tolist() == [20, 21]
    assert [client.name for client in streams.clients] == ["one", "two"]
    one, two = streams.clients
    assert [task.own.tolist() for task in one.tasks] == [[0, 1], [4]]
    assert [task.test.tolist() for task in two.tasks] == [[7], [9]]
    assert one.tasks[0].classes == one.tasks[0].met == (0,)
    assert (one.rounds, two.rounds) == (1, 2)


def test_history_is_seen_to(spoilt):
    one, _ = divided(whole(), history="own").clients
    assert [task.train.tolist() for task in one.tasks] == [[0, 1], [0, 1, 4]]
    one, _ = divided(whole(), history="pooled").clients
    assert one.tasks[0].train.tolist() == [0, 1, 4, 6, 8]


def test_a_client_may_have_nothing_in_a_slot(spoilt):
    clients = whole()
    del clients["one"][1]
    one, _ = divided(clients).clients
    assert [one.takes_part(slot, 1, 1) for slot in (1, 2)] == [False, True]


def spoil(client="one", slot=1, **changes):
    clients = whole()
    clients[client][slot] = replace(clients[client][slot], **changes)
    return clients


@pytest.mark.parametrize(
    ("clients", "rule"),
    [
        (spoil(train=rows(0, 8)), "each training item must be in one task of one client, found 1"),
        (spoil(train=rows(0, 0)), "train of task 1 of 'one' must name each item once, found 1 ag"),
        (spoil(train=rows(0, 960)), "train of task 1 of 'one' must be rows from 0 to 959, found"),
        (spoil(train=[0, 1]), r"train of task 1 of 'one' must be rows, .*int64 \(n,\), found list"),
        (spoil(test=np.array([0.5])), r"test of task 1 of 'one' must be rows, .* found float64"),
        (spoil(train=rows()), "task 1 of 'one' must have an item to train on, found none"),
        (spoil(slot=2, test=rows()), "task 2 of 'one' must have an item to test on, found none"),
        (spoil(test=rows(959)), "test of task 1 of 'one' must be of classes that .* found 'f'"),
        (spoil(validation=rows(959)), "validation of task 1 of 'one' must be of classes"),
        ({"one": whole()["one"]}, "must have as many clients as scenario.clients, 2, found 1"),
        (whole() | {"two": {}}, "every client must have a task, found none of 'two'"),
        ({k: {1: v[1]} for k, v in whole().items()}, "found nobody in slot 2"),
        (whole() | {"two": {1: whole()["two"][1], 3: whole()["two"][2]}}, "found somebody in slot"),
        ({1: whole()["one"], "two": whole()["two"]}, "clients must have names, found 1"),
    ],
)
def test_what_a_scenario_must_hold_is_said_in_its_words(spoilt, clients, rule):
    with pytest.raises(UserError, match=f"^scenario.kind: spoilt:ANY: .*{rule}"):
        divided(clients)


def test_no_test_item_is_trained_on_and_no_public_one_is_held(spoilt):
    with pytest.raises(UserError, match="test and train must have no groups in common, found 1"):
        divided(spoil(test=rows(8)))
    with pytest.raises(UserError, match="public and train must have no groups in common"):
        divided(whole(), public=rows(0, 20))
    with pytest.raises(UserError, match="the public set must not be empty"):
        divided(whole(), public=rows())
    with pytest.raises(UserError, match=r"scenario.measure: 'validation' needs items"):
        divided(whole(), measure="validation")


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("spoilt:RAISES", "spoilt:RAISES cannot be used: KeyError: 'nothing'"),
        ("spoilt:LIST", "spoilt:LIST must return a Division, found list"),
        ("spoilt:ANYY", r"has no ScenarioKind 'ANYY' \(did you mean 'ANY'\?\)"),
        ("spoilt:SPOIL", "has no ScenarioKind 'SPOIL'"),
        ("spoilt:divide", "must be a ScenarioKind, found function"),
        ("nowhere:X", "there is no module 'nowhere'"),
        (
            "task-incremental",
            "must be one of class-incremental, domain-incremental, given, MODULE:NAME, found "
            "'task-incremental'",
        ),
    ],
)
def test_what_is_no_scenario_is_refused(tmp_path, monkeypatch, kind, rule):
    at_home(tmp_path, monkeypatch, "spoilt", SPOILT)
    with pytest.raises(UserError, match=f"^scenario.kind: .*{rule}"):
        build_scenario(made_up(), Scenario(kind=kind, clients=2, tasks=2), 0)


def test_options_are_those_of_the_scenario():
    kind_of_scenario(Scenario(kind=f"{NAME}:TURNS", options={"step": 2}))
    with pytest.raises(UserError, match=r"scenario.options.stepp: unknown key \(did you mean 'st"):
        kind_of_scenario(Scenario(kind=f"{NAME}:TURNS", options={"stepp": 2}))
    with pytest.raises(UserError, match=r"scenario.options: given takes no options, found step"):
        kind_of_scenario(Scenario(kind="given", options={"step": 2}))


def test_options_reach_the_streams():
    def first(step: int) -> list[tuple[int, ...]]:
        tree = tree_of(NAME)
        tree["scenario"]["options"]["step"] = step
        return [client.tasks[0].classes for client in plan(parse_config(tree, "x"))[1].clients]

    assert first(0) == [(0,), (0,)] and first(2) == [(0,), (2,)]


def test_our_kinds_are_entries_of_the_same_spec():
    assert list(SCENARIOS) == ["class-incremental", "domain-incremental", "given"]
    assert all(isinstance(kind, ScenarioKind) for kind in SCENARIOS.values())


def test_the_contract_tells_what_is_not_kept(monkeypatch):
    def fickle(dataset, settings, options, seed):
        public = np.random.default_rng().permutation(100)[:20] + 100
        return Division(np.sort(public), whole())

    with pytest.raises(AssertionError, match="in the same way with the same seed"):
        check_scenario(ScenarioKind(fickle, "never the same"))
    with pytest.raises(AssertionError, match="summary"):
        check_scenario(ScenarioKind(fickle, ""))
