"""Equal and nearly equal items, by hand."""

import numpy as np

from fedbridge.report.inspection.likeness import blank_rows, equal_items, near_pairs
from fedbridge.report.inspection.result import Pool

CLASSES = ("cat", "dog")
TRAIN, VALIDATION, TEST, PUBLIC = range(4)


def pool(*items: tuple[int, int, bytes], vectors: list[list[float]] | None = None) -> Pool:
    """Return items of (label, side, content), called 0, 1, 2, ..."""
    labels, sides, contents = zip(*items, strict=True)
    return Pool(
        tuple(str(place) for place in range(len(items))),
        np.array(labels),
        np.array(sides),
        tuple(contents),
        None if vectors is None else np.array(vectors, np.float32),
    )


def pairs(found) -> list[tuple[str, str, str]]:
    return [(pair.one, pair.other, pair.remark) for pair in found]


def clusters(found) -> list[tuple[str, str]]:
    return [("".join(cluster.places), cluster.remark) for cluster in found]


def test_equal_items_on_two_sides_or_with_two_labels_are_named():
    items = pool(
        (0, TRAIN, b"a"),
        (0, TEST, b"a"),
        (1, TRAIN, b"b"),
        (0, TRAIN, b"b"),
        (1, VALIDATION, b"c"),
        (-1, PUBLIC, b"c"),
        (0, TRAIN, b"d"),
        (0, TRAIN, b"d"),  # twice, but harmless
    )
    assert clusters(equal_items(items, CLASSES)) == [
        ("01", "train / test"),
        ("23", "labels dog / cat"),
        ("45", "validation / public"),
    ]


def test_a_cluster_is_told_once_with_one_of_each_side_and_label_first():
    copies = [(0, TRAIN, b"a")] * 6
    items = pool(*copies, (0, TEST, b"a"), (1, TRAIN, b"a"), (0, TEST, b"a"))
    assert clusters(equal_items(items, CLASSES)) == [
        ("067123458", "train / test, labels cat / dog")
    ]


def test_both_remarks_stand_together():
    items = pool((0, TRAIN, b"a"), (1, TEST, b"a"))
    assert clusters(equal_items(items, CLASSES)) == [("01", "train / test, labels cat / dog")]


def test_near_items_are_those_that_point_the_same_way_from_the_mean():
    # around their mean (0, 0): 0 and 2 point one way, 1 and 3 opposite ways
    items = pool(
        (0, TRAIN, b"a"),
        (0, TRAIN, b"b"),
        (0, TEST, b"c"),
        (0, TEST, b"d"),
        vectors=[[2, 0.1], [-2, 0], [1, 0], [-1, -0.1]],
    )
    found = pairs(near_pairs(items))
    assert [(one, other) for one, other, _ in found] == [("2", "0"), ("3", "1")]
    assert found[0][2] == "test / train, cosine 0.999"


def test_equal_items_are_not_near_ones_and_without_an_fm_there_are_none():
    items = [(0, TRAIN, b"a"), (0, TEST, b"a"), (0, TRAIN, b"b"), (0, TRAIN, b"c")]
    far = [[1, 0], [1, 0], [-1, 1], [-1, -1]]
    assert near_pairs(pool(*items, vectors=far)) == ()
    assert near_pairs(pool(*items)) == ()


def test_items_of_one_side_are_not_compared():
    items = pool((0, TRAIN, b"a"), (0, TRAIN, b"b"), vectors=[[1, 0], [1, 0]])
    assert near_pairs(items) == ()


def test_what_nearly_equals_a_cluster_is_told_once():
    copies = [(0, TEST, b"a")] * 3
    items = pool(*copies, (0, TRAIN, b"b"), (0, TRAIN, b"c"),
                 vectors=[[1, 0]] * 3 + [[1, 0.01], [-4, 0]])  # fmt: skip
    assert [(one, other) for one, other, _ in pairs(near_pairs(items))] == [("0", "3")]


def test_blank_pictures_are_those_without_any_difference():
    pictures = np.random.default_rng(0).integers(0, 256, (3000, 3, 4, 4)).astype(np.uint8)
    pictures[7], pictures[2048], pictures[5] = 255, np.array([9, 30, 200])[:, None, None], 3
    pictures[5, 1, 2, 2] += 2  # as a JPEG of one colour
    pictures[6] = 3
    pictures[6, 1, 2, 2] += 3
    assert blank_rows(pictures).tolist() == [5, 7, 2048]
    assert blank_rows(pictures[:0]).tolist() == []
