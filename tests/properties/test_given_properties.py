"""Whatever the data state: every item is used once, where they say, and nothing leaks."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.scenario import Streams, build_scenario


@dataclass
class Case:
    data: Dataset
    wanted: Scenario
    seed: int
    streams: Streams


@st.composite
def cases(draw, **fixed):
    count = draw(st.integers(20, 120))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    tasks, domains, classes = (draw(st.integers(1, 3)) for _ in range(3))
    alike = draw(st.sampled_from([1, 3]))  # about so many items are equal
    number = np.unique(rng.integers(0, tasks, count), return_inverse=True)
    place = np.unique(rng.integers(0, domains, count), return_inverse=True)
    data = Dataset(
        name="own",
        modality="text",
        items=("",) * count,
        inputs=np.ones((count, 96), np.uint16),
        labels=rng.integers(0, classes + 1, count),
        domains=place[1],
        groups=rng.integers(0, count // alike, count) if alike > 1 else np.arange(count),
        classes=tuple("abcd"),
        domain_names=tuple(f"site-{n}" for n in place[0]),
        fingerprint="",
        licences=(),
        tasks=number[1],
        task_names=tuple(f"task-{n}" for n in number[0]),
    )
    are = draw(st.sampled_from(["shards", "domains"]))
    choices = {
        "clients": st.just(len(place[0])) if are == "domains" else st.integers(1, 3),
        "alpha": st.floats(0.01, 100.0),
        "test": st.floats(0.05, 0.4),
        "public": st.floats(0.05, 0.3),
        "validation": st.floats(0.05, 0.4),
        "public_per_class": st.integers(1, 30),
    }
    drawn = {name: draw(choice) for name, choice in choices.items()}
    wanted = Scenario(kind="given", clients_are=are, tasks=len(number[0]), **drawn)
    seed = draw(st.integers(0, 1000))
    try:
        return Case(data, wanted, seed, build_scenario(data, wanted, seed))
    except UserError:
        assume(False)


def parts(case):
    for client in case.streams.clients:
        for slot, task in zip(client.slots, client.tasks, strict=True):
            yield client, slot, task


@given(cases())
def test_exact_cover(case):
    held = [rows for *_, task in parts(case) for rows in (task.own, task.validation)]
    tested = [np.unique(np.concatenate([task.test for *_, task in parts(case)]))]
    everything = np.concatenate([*held, *tested, case.streams.public])
    assert sorted(everything.tolist()) == list(range(len(case.data)))


@given(cases())
def test_every_item_is_where_the_data_say(case):
    for client, slot, task in parts(case):
        for rows in (task.own, task.validation, task.test):
            assert set(case.data.tasks[rows]) <= {slot - 1}
            if case.wanted.clients_are == "domains":
                names = {case.data.domain_names[n] for n in case.data.domains[rows]}
                assert names <= {client.name}


@given(cases())
def test_no_group_is_on_two_sides(case):
    sides = [case.streams.public]
    for name in ("own", "validation", "test"):
        sides.append(np.concatenate([getattr(task, name) for *_, task in parts(case)]))
    groups = [set(case.data.groups[rows].tolist()) for rows in sides]
    assert all(not one & other for one, other in combinations(groups, 2))


@given(cases())
def test_what_is_held_back_is_of_classes_that_are_trained_on(case):
    for *_, task in parts(case):
        trained = set(case.data.labels[task.own])
        assert trained == set(task.classes) == set(task.met)
        assert len(task.test)
        for rows in (task.validation, task.test):
            assert set(case.data.labels[rows]) <= trained


@given(cases())
def test_the_same_again_is_the_same(case):
    again = build_scenario(case.data, case.wanted, case.seed)
    assert np.array_equal(again.public, case.streams.public)
    for one, other in zip(again.clients, case.streams.clients, strict=True):
        assert one.slots == other.slots
        for first, second in zip(one.tasks, other.tasks, strict=True):
            assert np.array_equal(first.own, second.own)
            assert np.array_equal(first.test, second.test)
