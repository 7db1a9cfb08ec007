"""Labels that all other items contradict."""

import numpy as np
import pytest

from fedbridge.report.inspection.doubts import MOST, STRENGTH, doubts, left_out
from fedbridge.report.inspection.result import Pool


def blobs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return np.eye(3)[labels] * 3 + rng.normal(0, 0.3, (count, 3)), labels


def as_pool(vectors: np.ndarray, labels: np.ndarray, sides: np.ndarray | None = None) -> Pool:
    names = tuple(str(place) for place in range(len(labels)))
    sides = np.zeros(len(labels), np.int64) if sides is None else sides
    return Pool(names, labels, sides, tuple(map(str.encode, names)), vectors.astype(np.float32))


def test_the_closed_form_is_leaving_each_item_out():
    vectors, labels = blobs(20)
    found = left_out(vectors, labels)
    centred = vectors - vectors.mean(0)
    penalty = STRENGTH * np.trace(centred.T @ centred) / 3
    for left in range(20):
        others = np.arange(20) != left
        x, y = vectors[others], np.eye(3)[labels[others]]
        z = x - x.mean(0)
        w = np.linalg.solve(z.T @ z + penalty * np.eye(3), z.T @ (y - y.mean(0)))
        expected = (vectors[left] - x.mean(0)) @ w + y.mean(0)
        assert found[left] == pytest.approx(expected)


def test_planted_errors_are_found_and_nothing_else():
    vectors, labels = blobs(90)
    wrong = {5: 0, 31: 2, 60: 1}
    for place, label in wrong.items():
        assert labels[place] != label
        labels[place] = label
    found = doubts(as_pool(vectors, labels), ("cat", "dog", "eel"))
    assert {int(doubt.place) for doubt in found} == set(wrong)
    (first,) = (doubt for doubt in found if doubt.place == "31")
    assert (first.label, first.looks_like) == ("eel", "dog")
    margins = [doubt.margin for doubt in found]
    assert margins == sorted(margins, reverse=True)


def test_public_items_have_no_label_to_doubt():
    vectors, labels = blobs(30)
    sides = np.zeros(30, np.int64)
    sides[20:] = 3
    labels[20:] = -1
    assert doubts(as_pool(vectors, labels, sides), ("cat", "dog", "eel")) == ()


def test_at_most_some_are_named():
    vectors, labels = blobs(600)
    labels[: 3 * MOST] = (labels[: 3 * MOST] + 1) % 3
    assert len(doubts(as_pool(vectors, labels), ("cat", "dog", "eel"))) == MOST


def test_one_class_leaves_nothing_to_doubt():
    vectors, labels = blobs(9)
    assert doubts(as_pool(vectors, 0 * labels), ("cat",)) == ()
