"""What holds for every kind of scenario, with unequal clients, blur, repeats and divisions."""

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.dealing import CellAssignment, lay_out
from fedbridge.data.streams.plans import plan_clients
from fedbridge.data.streams.scenario import Streams, build_scenario, check_disjoint
from synthetic import CLASSES, KINDS, of_kind

PARTS = ("own", "validation", "test")


@dataclass
class Case:
    data: Dataset
    wanted: Scenario
    seed: int
    streams: Streams

    @property
    def board(self) -> CellAssignment:
        plans = plan_clients(self.data, self.wanted, self.seed)
        return lay_out(self.data, self.wanted, plans)

    def changed(self, **changes) -> Streams:
        wanted = self.wanted.model_copy(update=changes)
        return build_scenario(self.data, wanted, self.seed)


@st.composite
def scenarios(draw, **fixed):
    """Draw settings, most of which the data can carry."""
    kind = draw(st.sampled_from(["class-incremental", "domain-incremental"]))
    by_shards = kind == "domain-incremental" or draw(st.booleans())
    tasks, repeats = draw(st.integers(1, 3)), draw(st.integers(0, 1))
    clients, slots = draw(st.integers(1, 3)), tasks + repeats
    joins = draw(st.lists(st.integers(1, max(1, tasks - 1)), min_size=1, max_size=clients))
    choices = {
        "kind": kind,
        "clients": clients,
        "clients_are": "shards" if by_shards else "domains",
        "tasks": tasks,
        "repeats": repeats,
        "joins": (1, *joins[1:]),
        "leaves": draw(st.sampled_from([None, (slots, max(1, slots - 1))][: min(clients, 2)])),
        "participation_rounds": draw(st.sampled_from([None, (1,)])),
        "data_fraction": draw(st.sampled_from([(1.0,), (0.5,), (0.01,)])),
        "classes_per_task": draw(st.integers(1, 2)),
        "private_classes": draw(st.integers(0, 1)),
        "order": draw(st.sampled_from(["own", "own", "same"])),
        "alpha": draw(st.floats(0.05, 100.0)),
        "blur": draw(st.sampled_from([0.0, 0.1, 0.6])),
        "validation": draw(st.floats(0.1, 0.3)),
        "train_per_class": draw(st.sampled_from([None, None, 5])),
        "history": draw(st.sampled_from(["task", "task", "own", "pooled"])),
    }
    return Scenario(**(choices | fixed))


@st.composite
def cases(draw, **fixed):
    wanted = draw(scenarios(**fixed))
    size, seed = draw(st.integers(20, 40)), draw(st.integers(0, 1000))
    data = of_kind(draw(st.sampled_from(KINDS)), size, seed, official=draw(st.booleans()))
    try:
        return Case(data, wanted, seed, build_scenario(data, wanted, seed))
    except UserError:
        assume(False)


def tasks_of(streams):
    return [task for client in streams.clients for task in client.tasks]


def gather(streams, *parts):
    return np.concatenate([getattr(task, part) for task in tasks_of(streams) for part in parts])


@given(cases())
def test_no_group_crosses_from_one_part_to_another(case):
    streams = case.streams
    parts = [streams.public, gather(streams, "own", "train")]
    parts += [gather(streams, "validation"), gather(streams, "test")]
    for one, other in combinations(parts, 2):
        assert not set(one) & set(other)
        assert not set(case.data.groups[one]) & set(case.data.groups[other])
    if case.data.split is not None:
        assert set(case.data.split[parts[-1]]) == {1}
        assert all(set(case.data.split[part]) == {0} for part in parts[:-1])


WHOLE = {"data_fraction": (1.0,), "train_per_class": None, "public_per_class": 10_000}


@given(cases(**WHOLE))
def test_every_item_of_a_held_cell_is_used_exactly_once(case):
    board = case.board
    cells = np.isin(board.of_item, list(board.clients))
    used = [gather(case.streams, "own"), gather(case.streams, "validation")]
    used += [np.unique(gather(case.streams, "test")), case.streams.public]
    everything = np.concatenate(used)
    assert sorted(everything[cells[everything]]) == np.flatnonzero(cells).tolist()


@given(cases())
def test_no_item_is_anybodys_twice(case):
    for part in ("own", "validation"):
        items = gather(case.streams, part)
        assert len(np.unique(items)) == len(items)
    for task in tasks_of(case.streams):
        for part in (*PARTS, "train"):
            items = getattr(task, part)
            assert np.array_equal(np.unique(items), items)


@given(cases())
def test_tasks_have_their_classes_and_number_and_repeat_the_first_ones(case):
    wanted = case.wanted
    leaves = wanted.leaves or (wanted.slots,)
    for k, client in enumerate(case.streams.clients):
        first, last = wanted.joins[k % len(wanted.joins)], leaves[k % len(leaves)]
        assert (client.start, len(client.tasks)) == (first, last - first + 1)
        new = len(client.tasks) - wanted.repeats
        for again, task in zip(client.tasks[new:], client.tasks, strict=False):
            assert again.classes == task.classes and np.array_equal(again.test, task.test)
        met = [label for task in client.tasks[:new] for label in task.classes]
        counts = np.bincount(met, minlength=CLASSES)
        times = new if wanted.kind == "domain-incremental" else 1
        assert set(counts) <= {0, times}
        assert sum(counts) == new * wanted.classes_per_task


@given(cases())
def test_classes_met_are_those_of_the_items_and_the_tasks_own_come_first(case):
    labels = case.data.labels
    for client in case.streams.clients:
        for number, task in enumerate(client.tasks, start=1):
            size = len(task.classes)
            assert task.met[:size] == task.classes
            assert case.wanted.blur or task.met == task.classes
            assert sorted(task.met) == np.unique(labels[task.own]).tolist()
            assert set(labels[task.test]) == set(task.classes)
            assert set(labels[task.validation]) <= set(task.classes)
            union = {label for before in client.tasks[:number] for label in before.met}
            assert client.seen(number) == sorted(union)
        # blur brings only classes that the client has anyway
        assert set(client.seen(len(client.tasks))) == {c for t in client.tasks for c in t.classes}


@given(cases())
def test_blur_and_repeats_only_move_a_clients_items_between_its_tasks(case):
    sharp = case.changed(blur=0.0)
    for client, other in zip(case.streams.clients, sharp.clients, strict=True):
        mine, its = ([task.own for task in c.tasks] for c in (client, other))
        assert sorted(np.concatenate(mine)) == sorted(np.concatenate(its))
        for task, same in zip(client.tasks, other.tasks, strict=True):
            assert np.array_equal(task.validation, same.validation)
            assert np.array_equal(task.test, same.test)


@given(cases(history="task"))
def test_histories_differ_in_what_may_be_trained_on_and_in_nothing_else(case):
    everything = gather(case.streams, "own")
    kind = case.board.of_item if case.wanted.kind == "domain-incremental" else case.data.labels
    own, pooled = case.changed(history="own"), case.changed(history="pooled")
    for k, client in enumerate(case.streams.clients):
        so_far: list[int] = []
        for t, task in enumerate(client.tasks):
            so_far += task.own.tolist()
            met = np.isin(kind[everything], kind[so_far])
            assert task.train.tolist() == task.own.tolist()
            assert own.clients[k].tasks[t].train.tolist() == sorted(so_far)
            assert pooled.clients[k].tasks[t].train.tolist() == sorted(everything[met])
            for other in (own.clients[k].tasks[t], pooled.clients[k].tasks[t]):
                assert all(np.array_equal(getattr(task, p), getattr(other, p)) for p in PARTS)


@given(cases(), st.integers(1, 4))
def test_calendar_of_a_client(case, rounds):
    for client in case.streams.clients:
        number = len(client.tasks)
        slots = range(client.start + number + 2)
        there = [(s, r) for s in slots for r in range(1, rounds + 1)
                 if client.takes_part(s, r, rounds)]  # fmt: skip
        each = rounds if client.rounds is None else min(client.rounds, rounds)
        assert len(there) == number * each
        assert [client.own_task(s) for s, _ in there] == sorted(list(range(1, number + 1)) * each)
        assert all((s, rounds) in there for s, _ in there)  # nobody misses a task's last round


def listing(streams):
    parts = [(t.classes, t.met, *(getattr(t, part).tolist() for part in (*PARTS, "train")))
             for t in tasks_of(streams)]  # fmt: skip
    calendar = [(client.name, client.start, client.rounds) for client in streams.clients]
    return [calendar, streams.public.tolist(), parts]


@given(cases(), st.integers(1, 100))
@settings(max_examples=40)
def test_streams_are_a_function_of_the_seed(case, step):
    assert listing(case.changed()) == listing(case.streams)
    try:
        other = build_scenario(case.data, case.wanted, case.seed + step)
    except UserError:
        assume(False)
    assert listing(other) != listing(case.streams)


@given(scenarios(classes_per_task=7), st.sampled_from(KINDS))
def test_more_classes_than_the_data_have_are_always_refused(wanted, kind):
    with pytest.raises(UserError, match="scenario"):
        build_scenario(of_kind(kind, 20, 0), wanted, 0)


@given(scenarios(), st.sampled_from(KINDS), st.integers(1, 12), st.booleans())
def test_what_cannot_be_carried_is_refused_and_never_fails_otherwise(wanted, kind, size, official):
    try:
        build_scenario(of_kind(kind, size, size, official), wanted, 0)
    except UserError as error:
        assert str(error).startswith(("scenario", "data set"))


@given(cases(), st.data())
@settings(max_examples=40)
def test_public_set_that_overlaps_anything_of_a_client_is_refused(case, data):
    part = data.draw(st.sampled_from([*PARTS, "train"]))
    stolen = data.draw(st.sampled_from(gather(case.streams, part).tolist()))
    leaking = replace(case.streams, public=np.append(case.streams.public, stolen))
    for groups in (None, case.data.groups):
        with pytest.raises(UserError, match=r"public and .* must have no"):
            check_disjoint(leaking, groups)
    # nor may it hold another item of a client's group
    group = case.data.groups == case.data.groups[stolen]
    relative = data.draw(st.sampled_from(np.flatnonzero(group).tolist()))
    leaking = replace(case.streams, public=np.append(case.streams.public, relative))
    with pytest.raises(UserError, match=r"public and .* must have no groups in common"):
        check_disjoint(leaking, case.data.groups)
