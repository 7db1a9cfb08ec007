"""Clients that are not there throughout: what they are sent, and what they make of it."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from fedbridge.methods.context import TrainContext
from fedbridge.methods.registry import LEARNERS
from fedbridge.models.statistics import SufficientStatistics, one_hot, packed, unpacked
from fedbridge.wire import Broadcast, Step, Upload
from worlds import Played, World, make_world, play, tiny_config


@cache
def unequal(**scenario: Any) -> World:
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in scenario.items()}
    return make_world(tiny_config(scenario=lists))


def places(played: Played, name: str) -> list[tuple[int, int]]:
    return [(u.task, u.round) for u in played.transport.uploads if u.client == name]


def classes(world: World, k: int, tasks: int) -> tuple[int, ...]:
    return tuple(sorted(c for task in world.streams.clients[k].tasks[:tasks] for c in task.classes))


def own_sums(world: World, k: int, task: int) -> SufficientStatistics:
    rows = world.streams.clients[k].tasks[task - 1].own
    targets = one_hot(world.dataset.labels[rows], 8)
    return unpacked(packed(SufficientStatistics.of(world.private(k).features_of(rows), targets)))


def test_who_comes_late_begins_with_its_first_task_and_everybodys_sums():
    world = unequal(joins=(1, 2))
    played = play(world, [Step(1, 1), Step(1, 2)])
    assert places(played, "client-2") == []
    sent = played.broadcasts(2)["client-2"]
    np.testing.assert_array_equal(unpacked(sent.adapter).gram, own_sums(world, 0, 1).gram)
    assert played.broadcasts(2)["client-1"].adapter == {}  # it has them

    late = played.clients["client-2"]
    upload = late.learn(sent)

    assert late.task == 1 and upload.task == 2
    assert upload.seen == classes(world, 1, 1)
    np.testing.assert_allclose(
        upload.cross.numpy(), own_sums(world, 1, 1).cross, rtol=1e-5, atol=1e-5
    )
    known = late.head.weights.abs().sum(0) > 0
    assert set(classes(world, 0, 1)) <= set(known.nonzero()[:, 0].tolist())


def test_sums_that_the_server_does_not_have_are_sent_with_the_next_tasks():
    world = unequal()
    client = world.client(0)
    lost = client.learn(Broadcast(1, 1))
    again = client.learn(Broadcast(1, 2))
    held = client.learn(Broadcast(1, 2, acknowledged=1))
    both = client.learn(Broadcast(2, 1))
    assert [u.client_task for u in (lost, again, held, both)] == [1, 1, 1, 2]
    one, two = own_sums(world, 0, 1), own_sums(world, 0, 2)
    np.testing.assert_array_equal(lost.cross, again.cross)
    np.testing.assert_allclose(lost.cross, one.cross, rtol=1e-5, atol=1e-5)
    assert not len(held.gram) and not len(held.cross) and not len(held.counts)
    np.testing.assert_allclose(both.cross, one.cross + two.cross, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(both.counts, one.counts + two.counts)
    # whatever the server has, a client's own head has each of its tasks once
    np.testing.assert_allclose(client.head.own.counts, one.counts + two.counts)


def test_a_task_that_was_missed_is_made_up_for():
    world = unequal()
    client = world.client(0)
    upload = client.learn(Broadcast(2, 1))
    expected = own_sums(world, 0, 1).counts + own_sums(world, 0, 2).counts
    np.testing.assert_array_equal(upload.counts, expected)
    np.testing.assert_allclose(client.head.own.counts, expected)


def test_who_comes_late_is_measured_by_its_own_tasks():
    world = unequal(joins=(1, 2))
    played = play(world)
    assert places(played, "client-2") == [(2, 1), (2, 2)]
    late, early = (played.clients[f"client-{k}"] for k in (2, 1))
    assert late.evaluate(Broadcast(2, 2)).after_task == 1
    assert early.evaluate(Broadcast(2, 2)).after_task == 2
    assert late.evaluate(Broadcast(0, 2)).after_task == 0
    assert {row[0] for row in late.evaluate(Broadcast(2, 2)).rows} == {1}


def test_who_has_left_is_asked_no_more_but_its_sums_stay():
    world = unequal(leaves=(2, 1))
    played = play(world)
    assert places(played, "client-2") == [(1, 1), (1, 2)]
    head = played.clients["client-1"].head
    total = own_sums(world, 0, 1) + own_sums(world, 1, 1) + own_sums(world, 0, 2)
    counts: Any = head.total.counts  # type: ignore[attr-defined]
    np.testing.assert_array_equal(counts, total.counts)


def test_who_takes_part_in_last_rounds_only_starts_its_tasks_there():
    world = unequal(participation_rounds=(2, 1))
    played = play(world)
    assert places(played, "client-2") == [(1, 2), (2, 2)]
    own: list[Upload] = [u for u in played.transport.uploads if u.client == "client-2"]
    for task, upload in enumerate(own, start=1):
        assert upload.seen == classes(world, 1, task)
        assert upload.counts.sum() == len(world.streams.clients[1].tasks[task - 1].own)
    assert set(played.clients["client-2"].memory) == set(classes(world, 1, 2))


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[TrainContext]:
    """Collect the lessons that clients take; nothing is learnt in them."""
    taken: list[TrainContext] = []
    take = replace(LEARNERS["smcf"], learn=lambda context, options: taken.append(context))
    monkeypatch.setitem(LEARNERS, "smcf", take)
    return taken


def test_a_repeated_task_brings_classes_that_are_old_as_well(contexts: list[TrainContext]):
    world = unequal(repeats=1)
    played = play(world)
    assert places(played, "client-1") == [(t, r) for t in (1, 2, 3) for r in (1, 2)]
    one, two, again = (world.streams.clients[0].tasks[t] for t in range(3))
    assert again.classes == one.classes and not set(again.own) & set(one.own)
    # one lesson of each client in turn
    context = contexts[-2]
    assert set(context.new.tolist()) == set(one.classes)
    assert context.old.tolist() == context.seen.tolist() == sorted(one.classes + two.classes)
    # and the sums count every item once
    total = played.clients["client-1"].head.own.counts  # type: ignore[attr-defined]
    assert total.sum() == len(world.items("own"))


def test_blurred_borders_let_a_class_be_met_early(contexts: list[TrainContext]):
    world = unequal(blur=0.4)
    play(world, [Step(1, 1)])
    task = world.streams.clients[0].tasks[0]
    assert set(task.classes) < set(task.met)
    assert contexts[0].new.tolist() == contexts[0].seen.tolist() == sorted(task.met)
    assert set(contexts[0].task.labels.tolist()) == set(task.met)


def test_a_round_without_anybody_changes_nothing():
    world = unequal(participation_rounds=(1,))
    played = play(world, [Step(1, 1)])
    assert played.transport.uploads == [] and played.server.states == {}
    assert all(b == Broadcast(1, 2) for b in played.server.broadcast(Step(1, 2)).values())
    assert {u.round for u in play(world).transport.uploads} == {2}
