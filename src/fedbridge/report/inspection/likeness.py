"""Duplicates, byte for byte or nearly, as the FM sees them; and blank items."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.store import Images
from fedbridge.report.inspection.result import PUBLIC, SIDES, Cluster, Pair, Pool

NEAR = 0.98  # cosine of embeddings around their mean
BLOCK = 1024  # rows that are compared at once
BLANK = 2  # grey levels by which the pixels of a picture that shows nothing differ at most


def equal_items(pool: Pool, classes: tuple[str, ...]) -> tuple[Cluster, ...]:
    """Return items of equal content, each content once, where sides or labels differ."""
    alike: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(pool.digests):
        alike[digest].append(row)
    return tuple(
        Cluster(tuple(pool.places[row] for row in _differing_first(pool, rows)), remark)
        for rows in alike.values()
        if (remark := _difference(pool, classes, rows))
    )


def blank_rows(inputs: Images | NDArray[np.uint16]) -> NDArray[np.int64]:
    """Return which pictures ``(n, C, S, S)`` show nothing: all pixels are the same, or nearly."""
    spread = [np.zeros(0, np.int64)]
    for start in range(0, len(inputs), BLOCK):
        pixels = inputs[start : start + BLOCK]
        axes = (2, 3)
        spread.append((pixels.max(axes).astype(np.int64) - pixels.min(axes)).max(1))
    return np.flatnonzero(np.concatenate(spread) <= BLANK)


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
    told: set[tuple[bytes, bytes]] = set()  # of equal items one is enough
    for left, right in combinations(range(len(SIDES) - 1, -1, -1), 2):
        one, other = np.flatnonzero(pool.sides == left), np.flatnonzero(pool.sides == right)
        for a, b, cosine in _nearest(units, one, other):
            contents = pool.digests[a], pool.digests[b]
            if cosine > NEAR and contents[0] != contents[1] and contents not in told:
                told.add(contents)
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


def _differing_first(pool: Pool, rows: list[int]) -> list[int]:
    """Return rows with one of each side and label before all others."""
    first = {(int(pool.sides[row]), int(pool.labels[row])): row for row in reversed(rows)}
    leading = sorted(first.values())
    return [*leading, *(row for row in rows if row not in set(leading))]


def _difference(pool: Pool, classes: tuple[str, ...], rows: list[int]) -> str:
    sides = dict.fromkeys(SIDES[pool.sides[row]] for row in rows)
    labels = dict.fromkeys(int(pool.labels[row]) for row in rows if pool.labels[row] >= 0)
    remarks = []
    if len(sides) > 1:
        remarks.append(" / ".join(sides))
    if len(labels) > 1:
        remarks.append("labels " + " / ".join(classes[label] for label in labels))
    return ", ".join(remarks)
