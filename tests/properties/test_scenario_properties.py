"""What holds for the streams of every data set and every setting that is not refused."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.scenario import Streams, build_scenario
from synthetic import CLASSES, KINDS, of_kind


@dataclass
class Case:
    data: Dataset
    wanted: Scenario
    seed: int
    streams: Streams


@st.composite
def cases(draw, **fixed):
    choices = {
        "clients": st.integers(1, 3),
        "clients_are": st.sampled_from(["shards", "domains"]),
        "tasks": st.integers(1, 3),
        "classes_per_task": st.integers(1, 2),
        "private_classes": st.integers(0, 2),
        "order": st.sampled_from(["own", "same"]),
        "alpha": st.floats(0.01, 100.0),
        "test": st.floats(0.05, 0.4),
        "public": st.floats(0.05, 0.3),
        "validation": st.floats(0.05, 0.4),
        "train_per_class": st.one_of(st.none(), st.integers(1, 10)),
        "history": st.sampled_from(["task", "own", "pooled"]),
    }
    drawn = {name: draw(choice) for name, choice in choices.items() if name not in fixed}
    wanted = Scenario(**(drawn | fixed))
    kind = draw(st.sampled_from(KINDS))
    data = of_kind(kind, draw(st.integers(12, 30)), draw(st.integers(0, 9)))
    seed = draw(st.integers(0, 1000))
    try:
        return Case(data, wanted, seed, build_scenario(data, wanted, seed))
    except UserError:
        assume(False)


def tasks_of(streams):
    return [task for client in streams.clients for task in client.tasks]


def gather(streams, part):
    return np.concatenate([getattr(task, part) for task in tasks_of(streams)])


@given(cases())
def test_groups_never_cross_and_so_neither_do_items(case):
    parts = [case.streams.public, *(gather(case.streams, p) for p in ("train", "validation"))]
    parts.append(gather(case.streams, "test"))
    for one, other in combinations(parts, 2):
        assert not set(one) & set(other)
        assert not set(case.data.groups[one]) & set(case.data.groups[other])


UNCAPPED = {"train_per_class": None, "public_per_class": 10_000, "history": "task"}


@given(cases(clients_are="shards", **UNCAPPED))
def test_shards_hold_every_item_of_a_streamed_class_exactly_once(case):
    held = np.concatenate([gather(case.streams, "train"), gather(case.streams, "validation")])
    tested = np.unique(gather(case.streams, "test"))  # the same for all clients of a class
    streamed = {label for task in tasks_of(case.streams) for label in task.classes}
    everything = np.concatenate([held, tested, case.streams.public])
    assert sorted(everything) == np.flatnonzero(np.isin(case.data.labels, list(streamed))).tolist()


@given(cases(clients_are="domains", train_per_class=None, history="task"))
def test_domains_hold_only_their_own_and_no_item_twice(case):
    held = np.concatenate([gather(case.streams, p) for p in ("train", "validation", "test")])
    assert len(np.unique(held)) == len(held)
    for domain, client in enumerate(case.streams.clients):
        for task in client.tasks:
            for items in (task.train, task.validation, task.test):
                assert set(case.data.domains[items]) == {domain}


@given(cases(history="task"))
def test_each_part_of_a_task_has_exactly_the_tasks_classes(case):
    for client in case.streams.clients:
        classes = [label for task in client.tasks for label in task.classes]
        assert len(set(classes)) == case.wanted.tasks * case.wanted.classes_per_task
        for task in client.tasks:
            assert len(task.classes) == case.wanted.classes_per_task
            for items in (task.train, task.validation, task.test):
                assert set(case.data.labels[items]) == set(task.classes)


@given(cases(train_per_class=3, history="task"))
def test_training_items_stay_below_the_cap(case):
    for task in tasks_of(case.streams):
        assert np.bincount(case.data.labels[task.train]).max() <= 3


@given(cases(), st.integers(1, 12))
def test_a_cap_on_test_items_thins_them_and_touches_nothing_else(case, most):
    wanted = case.wanted.model_copy(update={"test_per_class": most})
    capped = build_scenario(case.data, wanted, case.seed)
    assert np.array_equal(capped.public, case.streams.public)
    kept = {}
    for ours, thinned in zip(tasks_of(case.streams), tasks_of(capped), strict=True):
        for part in ("own", "train", "validation"):
            assert np.array_equal(getattr(ours, part), getattr(thinned, part))
        assert (thinned.classes, thinned.met) == (ours.classes, ours.met)
        assert set(thinned.test) <= set(ours.test)
        assert (np.diff(thinned.test) > 0).all()
        labels = [case.data.labels[task.test] for task in (ours, thinned)]
        before, after = (np.bincount(found, minlength=CLASSES) for found in labels)
        assert np.array_equal(after, np.minimum(before, most))
        for label in thinned.classes:  # the same for everybody who has the class, there
            items = thinned.test[labels[1] == label]
            place = label, int(case.data.domains[items[0]]) * (wanted.clients_are == "domains")
            assert kept.setdefault(place, items.tolist()) == items.tolist()


@given(cases())
def test_public_items_stay_below_the_cap_and_within_the_streamed_classes(case):
    labels = case.data.labels[case.streams.public]
    assert np.bincount(labels).max() <= case.wanted.public_per_class
    assert set(labels) <= {label for task in tasks_of(case.streams) for label in task.classes}


@given(cases(history="task"))
def test_own_history_is_the_union_of_the_clients_own_tasks(case):
    wanted = case.wanted.model_copy(update={"history": "own"})
    own = build_scenario(case.data, wanted, case.seed)
    for client, longer in zip(case.streams.clients, own.clients, strict=True):
        union: set[int] = set()
        for task, with_past in zip(client.tasks, longer.tasks, strict=True):
            union |= set(task.train)
            assert set(with_past.train) == union
            assert len(with_past.train) == len(union)
            assert np.array_equal(task.validation, with_past.validation)
            assert np.array_equal(task.test, with_past.test)


@given(cases(history="task"))
def test_pooled_history_is_all_clients_training_items_of_the_classes_met(case):
    wanted = case.wanted.model_copy(update={"history": "pooled"})
    pooled = build_scenario(case.data, wanted, case.seed)
    everything = gather(case.streams, "train")
    for client, longer in zip(case.streams.clients, pooled.clients, strict=True):
        met: set[int] = set()
        for task, with_all in zip(client.tasks, longer.tasks, strict=True):
            met |= set(task.classes)
            expected = everything[np.isin(case.data.labels[everything], list(met))]
            assert sorted(expected) == with_all.train.tolist()
            assert np.array_equal(task.validation, with_all.validation)
            assert np.array_equal(task.test, with_all.test)


@given(cases(private_classes=0))
def test_same_order_is_the_same_for_all_clients(case):
    wanted = case.wanted.model_copy(update={"order": "same"})
    try:
        streams = build_scenario(case.data, wanted, case.seed)
    except UserError:
        assume(False)
    assert len({tuple(task.classes for task in c.tasks) for c in streams.clients}) == 1


def listing(streams):
    parts = [(t.classes, *(x.tolist() for x in (t.train, t.validation, t.test)))
             for t in tasks_of(streams)]  # fmt: skip
    return [[client.name for client in streams.clients], streams.public.tolist(), parts]


@given(cases())
@settings(max_examples=40)
def test_same_seed_gives_the_same_streams(case):
    again = build_scenario(case.data, case.wanted, case.seed)
    assert listing(again) == listing(case.streams)


@given(cases(), st.integers(1, 100))
@settings(max_examples=40)
def test_another_seed_gives_other_streams(case, step):
    try:
        other = build_scenario(case.data, case.wanted, case.seed + step)
    except UserError:
        assume(False)
    assert listing(other) != listing(case.streams)


@given(cases(clients_are="shards", private_classes=0), st.integers(0, 100))
@settings(max_examples=40)
def test_every_client_of_a_class_gets_half_an_even_share(case, seed):
    wanted = case.wanted.model_copy(
        update={"alpha": 0.01, "train_per_class": None, "history": "task"}
    )
    try:
        streams = build_scenario(case.data, wanted, seed)
    except UserError:
        assume(False)
    counts = np.zeros((wanted.clients, CLASSES), dtype=int)
    for k, client in enumerate(streams.clients):
        for task in client.tasks:
            counts[k] += np.bincount(case.data.labels[task.train], minlength=CLASSES)
    holders = np.maximum((counts > 0).sum(axis=0), 1)
    floor = counts.sum(axis=0) // (2 * holders)
    assert ((counts >= floor) | (counts == 0)).all()
