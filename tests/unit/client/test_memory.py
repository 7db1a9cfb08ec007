import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.client.memory import Memory, balanced, herding, reservoir, with_items

ROWS = st.lists(st.integers(0, 400), unique=True, max_size=40)
PARTS = st.lists(st.lists(st.integers(0, 3), max_size=3, unique=True), min_size=1, max_size=4)


def offer(rows: list[int], classes: int = 4) -> Memory:
    """Return items by class: the class is the remainder."""
    items = np.array(rows, np.int64)
    return with_items({}, items, items % classes)


def same(one: Memory, other: Memory) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[c], other[c]) for c in one)


def everything(memory: Memory) -> list[int]:
    return sorted(row for rows in memory.values() for row in rows.tolist())


def line(rows: np.ndarray) -> np.ndarray:
    return rows[:, None].astype(np.float32)


def kept_by(policy: str, memory: Memory, size: int) -> Memory:
    if policy == "balanced":
        return balanced(memory, size, 0, "a")
    if policy == "reservoir":
        return reservoir(memory, size, 0, "a")
    return herding(memory, size, line)


POLICIES = pytest.mark.parametrize("policy", ["balanced", "reservoir", "herding"])


@POLICIES
@given(rows=ROWS, size=st.integers(1, 12))
def test_a_bounded_subset_is_kept_under_its_own_class(policy: str, rows: list[int], size: int):
    offered = offer(rows)
    kept = kept_by(policy, offered, size)
    for c, items in kept.items():
        assert set(items.tolist()) <= set(offered[c].tolist())
        assert items.tolist() == sorted(set(items.tolist()))
    if policy == "reservoir":
        assert len(everything(kept)) == min(size, len(rows))
        assert all(len(items) for items in kept.values())
    else:
        each = size // max(1, len(offered))
        assert {c: len(items) for c, items in kept.items()} == {
            c: min(each, len(items)) for c, items in offered.items()
        }


@pytest.mark.parametrize("policy", ["balanced", "herding"])
def test_classes_make_room_as_others_come(policy: str):
    memory: Memory = {}
    shares = [{0: 12}, {0: 6, 1: 6}, {0: 4, 1: 4, 2: 4}, {0: 3, 1: 3, 2: 3, 3: 3}]
    for label, expected in enumerate(shares):
        before, new = memory, np.arange(100 * label, 100 * label + 50)
        memory = kept_by(policy, with_items(memory, new, np.full(50, label)), 12)
        assert {c: len(rows) for c, rows in memory.items()} == expected
        assert all(set(memory[c].tolist()) < set(rows.tolist()) for c, rows in before.items())


@pytest.mark.parametrize("policy", ["balanced", "reservoir"])
@given(rows=ROWS, size=st.integers(1, 12), cuts=st.lists(st.integers(0, 40), max_size=3))
def test_a_sample_does_not_depend_on_the_order_of_arrival(
    policy: str, rows: list[int], size: int, cuts: list[int]
):
    """Items that come in parts, each of which is sampled, leave what all of them at once leave."""
    memory: Memory = {}
    borders = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in itertools.pairwise(borders):
        part = np.array(rows[start:end], np.int64)
        memory = kept_by(policy, with_items(memory, part, part % 4), size)
    assert same(memory, kept_by(policy, offer(rows), size))


@pytest.mark.parametrize("policy", ["balanced", "reservoir"])
def test_every_item_is_as_likely_to_stay(policy: str):
    offered = {0: np.arange(10), 1: np.arange(10, 30)}
    counts = np.zeros(30)
    for seed in range(600):
        kept = (
            balanced(offered, 6, seed, "a")
            if policy == "balanced"
            else reservoir(offered, 6, seed, "a")
        )
        counts[everything(kept)] += 1
    shares = counts / 600
    expected = np.repeat([0.3, 0.15], [10, 20]) if policy == "balanced" else np.full(30, 0.2)
    assert np.abs(shares - expected).max() < 4 * np.sqrt(0.25 / 600)


def test_samples_differ_between_clients_and_seeds():
    offered = {0: np.arange(50)}
    kept = [everything(balanced(offered, 5, *who)) for who in ((0, "a"), (0, "b"), (1, "a"))]
    assert kept[0] != kept[1] and kept[0] != kept[2]


def test_a_reservoir_forgets_classes_in_proportion():
    offered = {0: np.arange(900), 1: np.arange(900, 1000)}
    kept = reservoir(offered, 200, 0, "a")
    assert len(kept[0]) + len(kept[1]) == 200
    assert 8 <= len(kept[1]) <= 35  # a tenth of 200, more or less


def test_herding_by_hand():
    # the mean is 2; 2 is nearest to it, then 1 keeps the mean of two nearer than 7 or 0 would
    places = {0: 0.0, 1: 1.0, 2: 2.0, 3: 7.0, 4: 0.0}

    def embed(rows: np.ndarray) -> np.ndarray:
        return np.array([[places[r]] for r in rows.tolist()], np.float32)

    items = {5: np.arange(5)}
    assert herding(items, 1, embed)[5].tolist() == [2]
    assert herding(items, 2, embed)[5].tolist() == [1, 2]
    # (2 + 1 + x) / 3 is nearest to 2 for x = 7: 10/3, against 1 for x = 0: a tie goes no further
    assert herding(items, 3, embed)[5].tolist() == [0, 1, 2]
    assert herding(items, 9, embed)[5].tolist() == [0, 1, 2, 3, 4]


def test_herding_follows_the_mean_better_than_a_sample():
    rng = np.random.default_rng(0)
    table = rng.standard_normal((60, 8)).astype(np.float32)
    offered = {0: np.arange(60)}

    def gap(kept: Memory) -> float:
        return float(np.linalg.norm(table[kept[0]].mean(0) - table.mean(0)))

    assert gap(herding(offered, 6, lambda rows: table[rows])) < 0.5 * gap(
        balanced(offered, 6, 0, "a")
    )


def test_exemplars_join_new_items_of_their_class_once():
    memory: Memory = {1: np.array([5, 9])}
    found = with_items(memory, np.array([9, 2, 4]), np.array([1, 1, 0]))
    assert {c: rows.tolist() for c, rows in found.items()} == {0: [4], 1: [2, 5, 9]}
    assert same(with_items(memory, np.zeros(0, np.int64), np.zeros(0, np.int64)), memory)


@POLICIES
def test_nothing_offered_is_nothing_kept(policy: str):
    assert kept_by(policy, {}, 3) == {}
