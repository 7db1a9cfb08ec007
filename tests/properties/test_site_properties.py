"""Whatever rows a site has and whenever they arrive: each is used once, nothing leaks."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.config.site import Images
from fedbridge.data.readers.preparing import InputSpec, part_of, read_items, sides_of
from fedbridge.data.readers.rows import Partition, Row
from fedbridge.data.site.holding import task_of
from sites import CLASSES, common

FRAME = InputSpec.of(common("text"))
words = st.sampled_from([f"word {number}" for number in range(40)])
tables = st.lists(st.tuples(st.sampled_from(CLASSES), words), min_size=1, max_size=60)
shares = st.builds(
    lambda test, validation, seed: Images(path="p", test=test, validation=validation, seed=seed),
    st.floats(0.05, 0.5),
    st.floats(0.0, 0.4),
    st.integers(0, 99),
)


def part(name, table):
    rows = [Row(f"{name} {n}", label, text) for n, (label, text) in enumerate(table)]
    items, faults = read_items(Partition(name, True, lambda: rows), FRAME)
    assert not faults
    return part_of(name, items, FRAME)


def division(stored, held):
    """Return the side of every content of a task."""
    return dict(zip(stored.items, sides_of(stored.groups, held).tolist(), strict=True))


@given(tables, shares)
def test_exact_cover(table, held):
    stored = part("a", table)
    task = task_of(stored, held, start=7)
    together = np.concatenate([task.train, task.validation, task.test])
    assert sorted(together.tolist()) == list(range(7, 7 + len(table)))
    assert np.array_equal(task.own, task.train)


@given(tables, tables, shares)
def test_no_content_is_on_two_sides_in_any_two_tasks(first, second, held):
    one, other = part("a", first), part("b", second)
    sides = [(item, side) for p in (one, other) for item, side in division(p, held).items()]
    by_side = [{item for item, side in sides if side == number} for number in range(3)]
    assert all(not left & right for left, right in combinations(by_side, 2))
    for stored in (one, other):
        task = task_of(stored, held)
        contents = [
            {stored.items[row] for row in rows.tolist()}
            for rows in (task.train, task.validation, task.test)
        ]
        assert all(not left & right for left, right in combinations(contents, 2))


@given(tables, tables, shares)
def test_what_arrives_later_moves_nothing(first, later, held):
    before = division(part("a", first), held)
    after = division(part("a", first + later), held)
    assert all(after[item] == side for item, side in before.items())


@given(tables, shares, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(table, held, random):
    shuffled = random.sample(table, len(table))
    one, other = part("a", table), part("a", shuffled)
    assert one.items == other.items
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(task_of(one, held).test, task_of(other, held).test)
