"""The plane of most variance: by hand, and what is kept of it for a picture."""

import numpy as np
import pytest

from fedbridge.core.projection import drawn, plane_of, project, shares_of

CROSS = np.array([[3.0, 0, 1], [-3, 0, 1], [0, 1, 1], [0, -1, 1]])
"""Four points around (0, 0, 1): the variance is 18 along x and 2 along y, and none along z."""


def test_the_plane_of_a_cross_by_hand() -> None:
    plane = plane_of(CROSS)
    np.testing.assert_allclose(plane.components_, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    assert shares_of(plane) == pytest.approx([0.9, 0.1])
    np.testing.assert_allclose(project(plane, np.array([[5.0, 2, 9]])), [[5, 2]], atol=1e-12)


def test_signs_do_not_depend_on_the_order_of_points() -> None:
    points = np.random.default_rng(0).normal(size=(30, 6))
    axes = plane_of(points).components_
    np.testing.assert_allclose(plane_of(points[::-1].copy()).components_, axes, atol=1e-9)
    np.testing.assert_allclose(plane_of(-points).components_, axes, atol=1e-9)
    assert (axes.max(1) > -axes.min(1)).all()


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.filterwarnings("error")
def test_few_points_or_all_alike_have_a_plane_too(count: int, width: int) -> None:
    points = np.ones((count, width))
    plane = plane_of(points)
    assert project(plane, points).tolist() == [[0, 0]] * count
    assert shares_of(plane) == [0, 0]


@pytest.mark.filterwarnings("error")
def test_a_single_class_is_drawn_in_one_place() -> None:
    found = {"a": (np.array([1, 1]), np.array([[0, 1, 0], [0.6, 0.8, 0]], np.float32))}
    picture = drawn(found, np.eye(2, 3, dtype=np.float32), ("x", "y"))
    assert picture["clients"] == {"a": [[0, 0.0, 0.0, 1.0], [0, 0.0, 0.0, 0.8]]}
    assert (picture["anchors"], picture["explained"]) == ([[0.0, 0.0]], [0, 0])


def test_what_is_kept_for_a_picture() -> None:
    anchors = np.eye(4, 3, dtype=np.float32)
    found = {
        "a": (np.array([2, 0]), np.array([[0, 0, 1], [0.6, 0.8, 0]], np.float32)),
        "b": (np.array([0]), np.array([[2.0, 0, 0]], np.float32)),
    }
    picture = drawn(found, anchors, ("zero", "one", "two", "three"))
    assert picture["classes"] == ["zero", "two"]  # nobody showed the others
    clients = picture["clients"]
    assert isinstance(clients, dict)
    # of class 2, counted second, right on its anchor; of class 0 at cosine 0.6, then at 1
    assert [(row[0], row[3]) for row in clients["a"]] == [(1, 1.0), (0, 0.6)]
    assert [(row[0], row[3]) for row in clients["b"]] == [(0, 1.0)]
    # their cosines to the two anchors, less the mean of both: one axis, along (1, -1)
    half = 2**0.5 / 2
    places = [row[1] for row in clients["a"] + clients["b"]]
    centre = (-half + 0.6 * half + half) / 3
    np.testing.assert_allclose(places, np.array([-half, 0.6 * half, half]) - centre, atol=6e-4)
    assert [row[2] for row in clients["a"] + clients["b"]] == pytest.approx([0] * 3, abs=1e-3)
    assert [x for x, _ in picture["anchors"]] == pytest.approx(
        [half - centre, -half - centre], abs=6e-4
    )
    assert picture["explained"] == [1.0, 0.0]


def test_a_client_without_test_items_is_drawn_without_points() -> None:
    found = {
        "a": (np.array([0, 1]), np.eye(2, 3, dtype=np.float32)),
        "b": (np.zeros(0, np.int64), np.zeros((0, 3), np.float32)),
    }
    clients = drawn(found, np.eye(2, 3, dtype=np.float32), ("x", "y"))["clients"]
    assert isinstance(clients, dict)
    assert [len(clients["a"]), clients["b"]] == [2, []]


def test_embeddings_that_are_no_numbers_are_left_out() -> None:
    points = np.array([[np.nan, 0, 0], [0, np.inf, 0], [1, 0, 0]], np.float32)
    labels, anchors = np.array([0, 1, 1]), np.eye(2, 3, dtype=np.float32)
    picture = drawn({"a": (labels, points)}, anchors, ("x", "y"))
    assert picture["classes"] == ["y"]
    assert drawn({"a": (labels[:2], points[:2])}, anchors, ("x", "y")) == {}
