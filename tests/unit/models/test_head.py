import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedbridge.models.statistics import FeatureMap, SufficientStatistics, one_hot, packed, unpacked

Items = tuple[NDArray[np.float32], NDArray[np.int64]]


def items(n: int = 30, size: int = 5, classes: int = 3, seed: int = 0) -> Items:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, size)).astype(np.float32), rng.integers(0, classes, n)


def sums(
    z: NDArray[np.float32], labels: NDArray[np.int64], classes: int = 3
) -> SufficientStatistics:
    return SufficientStatistics.of(z, one_hot(labels, classes))


def assert_same(one: SufficientStatistics, other: SufficientStatistics) -> None:
    np.testing.assert_allclose(one.gram, other.gram, atol=1e-9)
    np.testing.assert_allclose(one.cross, other.cross, atol=1e-9)
    np.testing.assert_allclose(one.counts, other.counts, atol=1e-9)


def test_one_hot_by_hand():
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_sums_by_hand():
    z = np.array([[1, 0], [0, 2], [1, 1]], np.float32)

    found = sums(z, np.array([0, 1, 0]))

    assert found.gram.tolist() == [[2, 1], [1, 5]]
    assert found.cross.tolist() == [[2, 0, 0], [1, 2, 0]]
    assert found.counts.tolist() == [2, 1, 0]


@given(st.integers(0, 99), st.lists(st.integers(0, 30), max_size=4), st.randoms())
def test_sums_of_parts_in_any_order_are_the_sums_of_all(seed, cuts, random):
    z, labels = items(seed=seed)
    order = np.random.default_rng(seed).permutation(len(z))
    parts = np.split(order, sorted(cuts))
    random.shuffle(parts)

    total = SufficientStatistics.zero(5, 3)
    for rows in parts:
        total = total + sums(z[rows], labels[rows])

    assert_same(total, sums(z, labels))


def test_a_weight_is_how_often_an_item_counts():
    z, labels = items(3)
    rows = [0, 0, 1]

    weighted = SufficientStatistics.of(z, one_hot(labels, 3), np.array([2.0, 1.0, 0.0]))

    assert_same(weighted, sums(z[rows], labels[rows]))
    assert_same(weighted.scaled(3.0), weighted + weighted + weighted)


def test_ridge_by_hand():
    # G = diag(1, 4), H = diag(1, 2), mean eigenvalue 2.5: a strength of 0.4 is lambda = 1
    head = SufficientStatistics.of(np.array([[1, 0], [0, 2]], np.float32), np.eye(2)).ridge(0.4)
    np.testing.assert_allclose(head, [[1 / 2, 0], [0, 2 / 5]], atol=1e-12)


def test_ridge_from_many_sums_is_ridge_regression_on_all_data_at_once():
    z, labels = items(200)
    halves = [sums(z[rows], labels[rows]) for rows in np.split(np.arange(200), 4)]
    total = halves[3] + halves[0] + (halves[2] + halves[1])

    # least squares on the data with sqrt(lambda) I below them has the same solution
    penalty = 0.1 * np.trace(total.gram) / 5
    rows = np.vstack([z.astype(np.float64), np.sqrt(penalty) * np.eye(5)])
    targets = np.vstack([one_hot(labels, 3), np.zeros((5, 3))])
    expected = np.linalg.lstsq(rows, targets, rcond=None)[0]
    np.testing.assert_allclose(total.ridge(0.1), expected, atol=1e-10)


def test_the_strength_of_ridge_does_not_depend_on_how_many_items_there_are():
    z, labels = items()
    np.testing.assert_allclose(
        sums(z, labels).ridge(0.2), sums(z, labels).scaled(50.0).ridge(0.2), atol=1e-10
    )


def test_ridge_of_fewer_items_than_features_is_finite():
    z, labels = items(2, size=40)
    assert np.isfinite(sums(z, labels).ridge(1e-3)).all()


def test_nearest_mean_by_hand():
    z = np.array([[3, 0], [3, 8], [0, 5]], np.float32)
    head = sums(z, np.array([0, 0, 1])).nearest_mean()
    np.testing.assert_allclose(head, [[0.6, 0, 0], [0.8, 1, 0]], atol=1e-12)


@pytest.mark.parametrize("solve", [lambda s: s.ridge(0.1), lambda s: s.nearest_mean()])
def test_a_class_without_data_has_a_zero_column(solve):
    z, labels = items()
    head = solve(sums(z, 2 * (labels % 2), 4))
    assert (head[:, [1, 3]] == 0).all()
    assert (np.abs(head[:, [0, 2]]).sum(0) > 0).all()
    assert (solve(SufficientStatistics.zero(5, 4)) == 0).all()


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 99))
def test_packing_halves_the_symmetric_part_and_gives_everything_back(size, classes, seed):
    z, labels = items(20, size, classes, seed)
    exact = unpacked(packed(sums(z, labels, classes)))  # as exact as float32 is

    parts = packed(exact)

    shapes = {name: tuple(part.shape) for name, part in parts.items()}
    triangle = size * (size + 1) // 2
    assert shapes == {"gram": (triangle,), "cross": (size, classes), "counts": (classes,)}
    assert {part.dtype for part in parts.values()} == {torch.float32}
    for name in ("gram", "cross", "counts"):
        np.testing.assert_array_equal(getattr(unpacked(parts), name), getattr(exact, name))


def test_rounded_sums_are_those_that_travel():
    whole = sums(*items())
    found, sent = whole.rounded(), unpacked(packed(whole))
    for name in ("gram", "cross", "counts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(sent, name))
    assert not np.array_equal(found.gram, whole.gram)


def test_what_travels_of_a_gram_is_its_upper_triangle_row_by_row():
    parts = packed(
        SufficientStatistics(np.array([[1.0, 2.0], [2.0, 3.0]]), np.ones((2, 1)), np.ones(1))
    )
    assert parts["gram"].tolist() == [1.0, 2.0, 3.0]
    assert unpacked(parts).gram.tolist() == [[1.0, 2.0], [2.0, 3.0]]


def test_a_gram_that_was_not_sent_is_zero():
    parts = packed(sums(*items())) | {"gram": torch.zeros(0)}
    found = unpacked(parts)
    assert found.gram.shape == (5, 5) and not found.gram.any()
    np.testing.assert_array_equal(found.nearest_mean(), unpacked(parts).nearest_mean())
    assert found.cross.any() and found.counts.any()


def test_a_lift_standardises_features_that_the_public_set_excites():
    public = np.random.default_rng(0).normal([5, -3], [2, 2], (500, 2)).astype(np.float32)

    z = FeatureMap.fit(public, 0, 0)(public)

    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(0).max(), 1, atol=1e-5)


def test_a_feature_that_the_public_set_hardly_excites_is_not_blown_up():
    public = np.random.default_rng(0).normal(0, [1.0, 1e-6], (500, 2)).astype(np.float32)
    z = FeatureMap.fit(public, 0, 0)(np.array([[0.0, 1.0]], np.float32))
    assert 0.5 < z[0, 1] < 4  # one unit over the mean deviation, about a half


def test_a_lift_looks_at_the_public_set_alone():
    public, private = items(20)[0], items(10, seed=1)[0]
    lift = FeatureMap.fit(public, 6, 0)
    np.testing.assert_allclose(lift(private)[:3], lift(private[:3]), atol=1e-6)


def test_the_projection_is_rectified_and_a_function_of_the_seed():
    public = items(20)[0]
    one, again, other = (FeatureMap.fit(public, 64, seed) for seed in (0, 0, 1))

    assert one.dimension == 64 and FeatureMap.fit(public, 0, 0).dimension == 5
    z = one(public)
    assert z.shape == (20, 64) and z.dtype == np.float32
    assert (z >= 0).all() and (z > 0).mean() == pytest.approx(0.5, abs=0.15)
    np.testing.assert_array_equal(z, again(public))
    assert not np.allclose(z, other(public))


def test_a_constant_public_set_gives_finite_features():
    lift = FeatureMap.fit(np.ones((4, 3), np.float32), 8, 0)
    assert np.isfinite(lift(np.array([[0, 1, 2]], np.float32))).all()
