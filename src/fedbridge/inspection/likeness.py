"""Items that are there twice: byte for byte, or nearly, as the FM sees them."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from fedbridge.inspection.result import PUBLIC, SIDES, Pair, Pool

NEAR = 0.98  # cosine of embeddings around their mean
BLOCK = 1024  # rows that are compared at once


def equal_pairs(pool: Pool, classes: tuple[str, ...]) -> tuple[Pair, ...]:
    """Return items of equal content that stand on different sides or have different labels."""
    alike: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(pool.digests):
        alike[digest].append(row)
    return tuple(
        Pair(pool.places[one], pool.places[other], remark)
        for rows in alike.values()
        for one, other in combinations(rows, 2)
        if (remark := _difference(pool, classes, one, other))
    )


def near_pairs(pool: Pool) -> tuple[Pair, ...]:
    """Return items on different sides whose embeddings have a cosine above ``NEAR``, best first.

    Of an item only the nearest one on each other side is named; equal ones are not.
    """
    if pool.vectors is None:
        return ()
    own = pool.vectors[pool.sides != PUBLIC]
    centred = pool.vectors - (own if len(own) else pool.vectors).mean(0)
    units = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    found = []
    for left, right in combinations(range(len(SIDES) - 1, -1, -1), 2):
        one, other = np.flatnonzero(pool.sides == left), np.flatnonzero(pool.sides == right)
        for a, b, cosine in _nearest(units, one, other):
            if cosine > NEAR and pool.digests[a] != pool.digests[b]:
                sides = f"{SIDES[left]} / {SIDES[right]}, cosine {cosine:.3f}"
                found.append((cosine, Pair(pool.places[a], pool.places[b], sides)))
    return tuple(pair for _, pair in sorted(found, key=lambda entry: -entry[0]))


def _nearest(
    units: np.ndarray, one: np.ndarray, other: np.ndarray
) -> Iterator[tuple[int, int, float]]:
    if not len(other):
        return
    for start in range(0, len(one), BLOCK):
        rows = one[start : start + BLOCK]
        cosines = units[rows] @ units[other].T
        best = cosines.argmax(1)
        for place, row in enumerate(rows.tolist()):
            yield row, int(other[best[place]]), float(cosines[place, best[place]])


def _difference(pool: Pool, classes: tuple[str, ...], one: int, other: int) -> str:
    sides = [SIDES[pool.sides[row]] for row in (one, other)]
    labels = [int(pool.labels[row]) for row in (one, other)]
    remarks = []
    if sides[0] != sides[1]:
        remarks.append(" / ".join(sides))
    if labels[0] != labels[1] and min(labels) >= 0:
        remarks.append("labels " + " / ".join(classes[label] for label in labels))
    return ", ".join(remarks)
