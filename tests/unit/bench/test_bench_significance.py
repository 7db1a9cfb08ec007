"""Signed ranks and Holm's correction, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.bench.significance import compared_with_ours, holm, signed_rank

P = st.one_of(st.none(), st.floats(0.0, 1.0))


def test_six_pairs_all_better():
    # only one of 2**6 choices of signs is as extreme to either side
    assert signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 64)
    assert signed_rank([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6]) == pytest.approx(2 / 64)


def test_one_of_six_pairs_worse():
    # 1+1+1+2+2+3+4 = 14 of the 64 subsets of ranks 1..6 have a sum of at most 6
    assert signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, -0.6]) == pytest.approx(28 / 64)


def test_pairs_without_a_difference_have_no_rank():
    some = [0.1, 0.2, 0.3, 0.4, 0.5, -0.6]
    assert signed_rank([*some, 0.0, 0.0]) == signed_rank(some)
    # two of three ranks: 2 of 8 choices of signs are as extreme
    assert signed_rank([0.1, 0.2, 0.3, 0.0, 0.0, 0.0]) == pytest.approx(2 / 8)


def test_no_difference_at_all():
    assert signed_rank([0.0] * 6) == 1.0
    assert signed_rank([0.1 + 0.2 - 0.3] * 6) == 1.0  # 5.6e-17 is rounding, no difference


def test_too_few_pairs():
    assert signed_rank([0.1, 0.2, 0.3, 0.4, 0.5]) is None
    assert signed_rank([]) is None


def test_equal_differences_share_their_ranks():
    # all of one rank: p is that of the sign test, 2 / 2**6
    assert signed_rank([0.3 - 0.2, 0.2 - 0.1, 0.1, 0.1, 0.1, 0.1]) == pytest.approx(2 / 64)


def test_holm_by_hand():
    # sorted 0.01, 0.03, 0.04 times 3, 2, 1: 0.03, 0.06, and no less than 0.06
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02, None]) == [0.02, None]
    assert holm([]) == []


@given(st.lists(P, max_size=8))
def test_holm_keeps_order_and_lowers_nothing(values):
    adjusted = holm(values)
    known = sorted((p, q) for p, q in zip(values, adjusted, strict=True) if p is not None)
    assert all(p <= q <= 1.0 for p, q in known)
    assert [q for _, q in known] == sorted(q for _, q in known)
    assert [q is None for q in adjusted] == [p is None for p in values]


def test_only_common_seeds_and_clients_are_paired():
    ours = {(seed, client): 0.5 + seed / 100 for seed in (1, 2, 3) for client in "ab"}
    worse = {key: 0.3 for key in ours}
    same = dict(ours)
    short = {key: 0.3 for key in ours if key[0] != 3} | {(9, "a"): 0.1}
    first, second, third = compared_with_ours(ours, [worse, same, short])
    assert first.pairs == 6 and first.p == pytest.approx(2 * 2 / 64)  # Holm over two
    assert second == (1.0, 6)
    assert third == (None, 4)
