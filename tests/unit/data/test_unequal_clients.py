"""Clients that join late, leave early, hold less, take part in fewer rounds."""

import numpy as np
import pytest

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.data.streams.scenario import ClientStream, build_scenario
from fedbridge.methods.files import parse_config
from synthetic import emoji_like, single


def settings(**changes):
    defaults = {"clients": 3, "tasks": 5, "classes_per_task": 1, "validation": 0.2}
    return Scenario(**(defaults | changes))


def refused(data, wanted):
    with pytest.raises(UserError) as caught:
        build_scenario(data, wanted, seed=0)
    return str(caught.value)


def stream(tasks, start=1, rounds=None):
    return ClientStream("a", tuple(range(tasks)), start, rounds)


def test_by_default_all_clients_are_there_throughout():
    streams = build_scenario(emoji_like(20), settings(), seed=0)
    for client in streams.clients:
        assert (len(client.tasks), client.start, client.rounds) == (5, 1, None)


def test_own_task_counts_from_the_slot_of_joining_and_stays_after_leaving():
    client = stream(tasks=2, start=3)
    assert [client.own_task(slot) for slot in range(7)] == [0, 0, 0, 1, 2, 2, 2]


def test_client_takes_part_between_joining_and_leaving():
    client = stream(tasks=2, start=3)
    there = [slot for slot in range(7) for round_ in (1, 2) if client.takes_part(slot, round_, 2)]
    assert there == [3, 3, 4, 4]


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [(None, [True] * 3), (3, [True] * 3), (2, [False, True, True]), (1, [False, False, True])],
)
def test_effort_means_the_last_rounds_of_a_task(rounds, expected):
    client = stream(tasks=2, start=2, rounds=rounds)
    assert [client.takes_part(2, round_, 3) for round_ in (1, 2, 3)] == expected
    assert not any(client.takes_part(1, round_, 3) for round_ in (1, 2, 3))


def test_joins_and_leaves_bound_each_clients_tasks():
    wanted = settings(joins=[1, 1, 3], leaves=[5, 3, 4])
    streams = build_scenario(emoji_like(20), wanted, seed=0)
    assert [(c.start, len(c.tasks)) for c in streams.clients] == [(1, 5), (1, 3), (3, 2)]


def test_short_lists_start_over_at_their_end():
    wanted = settings(clients=5, joins=[1, 2], participation_rounds=[2, 1, 1])
    streams = build_scenario(emoji_like(40), wanted, seed=0)
    assert [client.start for client in streams.clients] == [1, 2, 1, 2, 1]
    assert [client.rounds for client in streams.clients] == [2, 1, 1, 2, 1]


def test_late_client_begins_at_the_start_of_its_stream():
    wanted = settings(order="same", joins=[1, 1, 4])
    streams = build_scenario(emoji_like(20), wanted, seed=0)
    first, _, late = streams.clients
    assert [t.classes for t in late.tasks] == [t.classes for t in first.tasks[:2]]


def test_items_are_divided_only_between_those_that_hold_a_class():
    wanted = settings(order="same", leaves=[5, 1, 1], alpha=1e6)
    streams = build_scenario(single(60), wanted, seed=0)
    counts = [len(client.tasks[0].own) for client in streams.clients]
    assert max(counts) - min(counts) <= 1
    # alone with its later classes, the first client has three times as much of them
    assert all(len(task.own) == sum(counts) for task in streams.clients[0].tasks[1:])


def test_private_classes_and_classes_for_the_longest_stream_must_be_there():
    data = single(20, classes=8)
    build_scenario(data, settings(private_classes=1, leaves=[1, 5, 5]), seed=0)
    message = refused(data, settings(private_classes=2, leaves=[1, 5, 5]))
    assert message == (
        "scenario.private_classes: must be at most a client's tasks * classes_per_task = 1, found 2"
    )
    message = refused(single(20), settings(private_classes=1, leaves=[1, 5, 5]))
    assert "3 * 1 + (5 - 1) = 7 classes are needed" in message


def test_amount_keeps_a_fraction_of_the_training_items_of_every_class():
    data = single(100)
    full = build_scenario(data, settings(), seed=0)
    less = build_scenario(data, settings(data_fraction=[1.0, 0.25, 0.001]), seed=0)
    for client, kept, fraction in zip(full.clients, less.clients, (1.0, 0.25, 0.0), strict=True):
        for task, small in zip(client.tasks, kept.tasks, strict=True):
            assert len(small.own) == max(1, round(fraction * len(task.own)))
            assert set(small.own) <= set(task.own)
            assert np.array_equal(small.validation, task.validation)
            assert np.array_equal(small.test, task.test)


def test_amount_is_a_fraction_of_what_the_cap_leaves():
    wanted = settings(train_per_class=8, data_fraction=[0.5])
    streams = build_scenario(single(100), wanted, seed=0)
    assert {len(task.own) for client in streams.clients for task in client.tasks} == {4}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"joins": [1, 2, 1, 1]},
            "scenario.joins: must have at most one value for each of 3 clients, found 4",
        ),
        (
            {"data_fraction": [1.0] * 5},
            "scenario.data_fraction: must have at most one value for each of 3 clients, found 5",
        ),
        (
            {"joins": [1, 6]},
            "scenario.joins and scenario.leaves: must be slots with joins <= leaves <= tasks + "
            "repeats = 5, found 6 and 5 for client 2",
        ),
        (
            {"leaves": [5, 5, 7]},
            "scenario.joins and scenario.leaves: must be slots with joins <= leaves <= tasks + "
            "repeats = 5, found 1 and 7 for client 3",
        ),
        (
            {"joins": [1, 3, 1], "leaves": [5, 2, 5]},
            "scenario.joins and scenario.leaves: must be slots with joins <= leaves <= tasks + "
            "repeats = 5, found 3 and 2 for client 2",
        ),
        (
            {"joins": [1, 4, 4], "leaves": [2, 5, 5]},
            "scenario.joins and scenario.leaves: some client must be there in every slot from 1 "
            "to tasks + repeats = 5, found no client in slot 3",
        ),
    ],
)
def test_impossible_calendars_are_refused(changes, expected):
    assert refused(emoji_like(20), settings(**changes)) == expected


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("joins", [0], "greater than or equal to 1"),
        ("joins", [], "at least 1"),
        ("leaves", [1, 0], "greater than or equal to 1"),
        ("participation_rounds", [0], "greater than or equal to 1"),
        ("data_fraction", [0.0], "greater than 0"),
        ("data_fraction", [1.5], "less than or equal to 1"),
        ("data_fraction", [], "at least 1"),
        ("blur", 1.0, "less than 1"),
        ("blur", -0.1, "greater than or equal to 0"),
        ("repeats", -1, "greater than or equal to 0"),
    ],
)
def test_values_that_mean_nothing_are_refused(field, value, rule):
    with pytest.raises(UserError, match=rule) as caught:
        parse_config({"scenario": {field: value}}, "mine.toml")
    assert str(caught.value).startswith(f"mine.toml: scenario.{field}")


def test_more_effort_than_rounds_is_refused():
    tree = {"scenario": {"participation_rounds": [1, 4, 2]}, "training": {"rounds": 3}}
    with pytest.raises(UserError) as caught:
        parse_config(tree, "mine.toml")
    assert str(caught.value) == (
        "mine.toml: scenario.participation_rounds: must be at most training.rounds = 3, found 4"
    )
    assert parse_config(
        {**tree, "training": {"rounds": 4}}, "mine.toml"
    ).scenario.participation_rounds == (
        1,
        4,
        2,
    )


def test_slots_are_tasks_and_repeats():
    assert settings().slots == 5
    assert settings(repeats=2).slots == 7
