"""How much a client's sums may count, worked out by hand."""

import dataclasses
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.methods.registry import head_of
from fedbridge.methods.shares import Load, share_of
from fedbridge.methods.sums import SummedUp
from fedbridge.models.statistics import SufficientStatistics, one_hot, packed, possible, unpacked
from fedbridge.wire import Upload
from worlds import bare_context, tiny_config

WIDTH, CLASSES = 2, 2


def side(most: float = 2.0, head: str = "analytic") -> SummedUp:
    config = tiny_config(large={"most": most, "head": head})
    shared = bare_context(config, CLASSES, torch.zeros(2, 1, 16, 16), torch.zeros(2, WIDTH))
    side = head_of(config).server(shared, tuple("abcde"), config.large)
    assert isinstance(side, SummedUp)
    return side


def items(count: int, length: float = 1.0) -> SufficientStatistics:
    """Return the sums of equal items: G = diag(count * length^2, 0)."""
    z = np.tile(np.array([[length, 0.0]], np.float32), (count, 1))
    return SufficientStatistics.of(z, one_hot(np.zeros(count, np.int64), CLASSES))


def upload(client: str, sums: SufficientStatistics, task: int = 1, own: int = 1) -> Upload:
    return Upload(client, task, 1, {}, (0, 1), **packed(sums), client_task=own)


def added(large: SummedUp, task: int = 1, **sums: SufficientStatistics) -> list[str]:
    """Let some clients send sums of a task; return whose did not count in full."""
    for client, theirs in sums.items():
        own = large._loads.get(client, Load()).tasks + 1
        large.absorb(upload(client, theirs, task, own))
    return [one.client for one in large.finish_round([])]


def test_a_load_is_what_sums_weigh():
    load = Load().plus(packed(items(3, 2.0)), 1).plus(packed(items(1, 1.0)), 2)
    assert load == Load(3, 4.0, 13.0)  # 3 * 2^2 + 1
    assert load.less(Load(1, 3.0, 12.0)) == Load(2, 1.0, 1.0)
    without = packed(items(3, 2.0)) | {"gram": torch.zeros(0)}
    assert Load().plus(without, 1) == Load(1, 3.0, 6.0)  # the length of (3 * 2, 0)


def test_what_weighs_more_than_the_median_allows_is_scaled_down():
    others = [Load(1, 10.0, 40.0), Load(2, 60.0, 200.0), Load(1, 20.0, 60.0)]
    # by task 10, 30 and 20 items, of energy 40, 100 and 60: medians 20 and 60
    assert share_of(Load(1, 100.0, 100.0), others, 5.0).factor == 1.0
    assert share_of(Load(1, 200.0, 100.0), others, 5.0).factor == 0.5
    assert share_of(Load(1, 100.0, 1200.0), others, 5.0).factor == 0.25
    assert share_of(Load(2, 200.0, 100.0), others, 5.0).factor == 1.0  # of two tasks
    assert share_of(Load(1, 1e9, 1e9), [], 5.0).factor == 1.0
    assert share_of(Load(1, 1e9, 1e9), [Load(1, 0.0, 0.0)], 5.0).factor == 1.0


def test_a_client_that_says_it_has_far_more_items_counts_as_much_as_may_be():
    large = side(most=2.0)
    assert added(large, a=items(10), b=items(10), c=items(1000)) == ["c"]
    assert large.sums.counts[0] == 10 + 10 + 2 * 10
    assert large.sums.gram[0, 0] == large.sums.cross[0, 0] == 40.0


def test_long_features_are_as_heavy_as_many_items():
    large = side(most=2.0)
    assert added(large, a=items(10), b=items(10), c=items(10, 100.0)) == ["c"]
    # its energy, 10 * 100^2, is to be 2 * 10: a factor of 1 / 5000
    np.testing.assert_allclose(large.sums.gram[0, 0], 40.0)
    np.testing.assert_allclose(large.sums.cross[0, 0], 20.0 + 1000.0 / 5000)


def test_without_products_the_classes_sums_are_weighed():
    large = side(most=2.0, head="nearest-mean")
    without = {k: dataclasses.replace(items(10, n), gram=np.zeros((2, 2))) for k, n in
               {"a": 1.0, "b": 1.0, "c": 100.0}.items()}  # fmt: skip
    for client, theirs in without.items():
        parts = packed(theirs) | {"gram": torch.zeros(0)}
        large.absorb(Upload(client, 1, 1, {}, (0, 1), **parts, client_task=1))
    assert [one.client for one in large.finish_round([])] == ["c"]
    np.testing.assert_allclose(large.sums.cross[0, 0], 10 + 10 + 20)


def test_sums_within_bounds_are_added_as_they_are_bit_for_bit():
    rng = np.random.default_rng(0)
    found = {
        name: unpacked(packed(SufficientStatistics.of(
            rng.normal(size=(n, WIDTH)).astype(np.float32), one_hot(rng.integers(0, 2, n), 2)
        )))
        for name, n in {"a": 9, "b": 30, "c": 14}.items()
    }  # fmt: skip
    large, total = side(most=5.0), SufficientStatistics.zero(WIDTH, CLASSES)
    assert added(large, **found) == []
    for one in found.values():
        total = total + one
    for part in ("gram", "cross", "counts"):
        np.testing.assert_array_equal(getattr(large.sums, part), getattr(total, part))


def test_the_order_of_uploads_does_not_matter():
    theirs = {"a": items(10), "b": items(14), "c": items(900), "d": items(3)}
    totals = set()
    for order in permutations(theirs):
        large = side(most=2.0)
        added(large, **{name: theirs[name] for name in order})
        totals.add(round(large.sums.gram[0, 0], 9))
    assert len(totals) == 1


def test_who_was_there_first_and_alone_is_compared_as_soon_as_others_come(tmp_path: Path):
    large = side(most=2.0)
    assert added(large, 1, c=items(1000)) == []  # with whom could it be compared?
    large.save(tmp_path)
    again = side(most=2.0)
    again.load(tmp_path)
    for one in (large, again):
        assert added(one, 2, a=items(10), b=items(10)) == ["c"]
        np.testing.assert_allclose(one.sums.counts[0], 20 + 20)
    assert added(large, 3, a=items(10), b=items(10), c=items(10)) == []


def test_one_that_comes_late_is_measured_by_its_tasks():
    large = side(most=2.0)
    for task in range(1, 6):
        assert added(large, task, a=items(10), b=items(12)) == []
    assert added(large, 6, a=items(10), d=items(20)) == []  # more than a task, less than six


def test_of_two_clients_the_other_is_the_measure():
    large = side(most=3.0)
    assert added(large, a=items(10), b=items(100)) == ["b"]
    np.testing.assert_allclose(large.sums.counts[0], 10 + 30)


def test_what_is_said_names_the_setting_and_the_numbers():
    large = side(most=2.0)
    for client, count in {"a": 10, "b": 10, "c": 2**24}.items():
        large.absorb(upload(client, items(10).scaled(count / 10)))
    (noted,) = large.finish_round([])
    assert (noted.kind, noted.client) == ("capped", "c")
    assert noted.about == {"factor": pytest.approx(20 / 2**24)}
    assert "large.most" in noted.reason and "1.68e+07 in items" in noted.reason


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0.1, 10)), min_size=2, max_size=5))
def test_whatever_comes_the_total_is_of_items_and_nobody_is_more_than_its_share(given_):
    large = side(most=2.0)
    added(large, **{"abcde"[k]: items(n, length) for k, (n, length) in enumerate(given_)})
    assert possible(packed(large.sums))
    usual = sorted(n for n, _ in given_)
    assert large.sums.counts[0] <= 2.0 * usual[-1] * len(given_)
