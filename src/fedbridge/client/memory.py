"""Exemplars: the few items of earlier tasks that a client keeps, in its own storage only."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.rng import rng_for
from fedbridge.methods.spec import Keep

Indices = NDArray[np.int64]
Memory = dict[int, Indices]  # class id -> exemplars, ascending
Embed = Callable[[Indices], NDArray[np.float32]]
Place = tuple[int, str]
"""Seed and client, of which alone random numbers are a function."""


def with_items(memory: Memory, rows: Indices, labels: Indices) -> Memory:
    """Return the exemplars together with new items ``rows (n,)`` of classes ``labels (n,)``."""
    classes = sorted({*memory, *labels.tolist()})
    none = np.zeros(0, np.int64)
    return {c: np.union1d(memory.get(c, none), rows[labels == c]) for c in classes}


def kept(memory: Memory) -> Indices:
    """Return all exemplars."""
    return np.concatenate([*memory.values(), np.zeros(0, np.int64)])


def chosen(keep: Keep, offered: Memory, capacity: int, place: Place, embed: Embed) -> Memory:
    """Return the exemplars that stay of those offered, by the way that a learner wants."""
    if keep == "reservoir":
        return reservoir(offered, capacity, *place)
    if keep == "herding":
        return herding(offered, capacity, embed)
    return balanced(offered, capacity, *place)


def balanced(offered: Memory, capacity: int, seed: int, client: str) -> Memory:
    """Keep equally many items of each class, uniform samples of all that were ever offered.

    The classes met so far share the whole capacity, and make room as others come (iCaRL,
    CVPR 2017, algorithm 5).
    """
    size = capacity // max(1, len(offered))
    return {
        c: np.sort(rows[np.argsort(_priorities(rows, seed, client))[:size]])
        for c, rows in offered.items()
    }


def reservoir(offered: Memory, capacity: int, seed: int, client: str) -> Memory:
    """Keep at most ``capacity`` items in all, a uniform sample of all that were ever offered.

    The distribution is that of reservoir sampling (Vitter, TOMS 1985): the items of lowest random
    priority stay, whatever the order in which they came.
    """
    every = np.concatenate([*offered.values(), np.zeros(0, np.int64)])
    kept = every[np.argsort(_priorities(every, seed, client))[:capacity]]
    chosen = {c: np.intersect1d(rows, kept) for c, rows in offered.items()}
    return {c: rows for c, rows in chosen.items() if len(rows)}


def herding(offered: Memory, capacity: int, embed: Embed) -> Memory:
    """Keep equally many items of each class whose mean embedding follows the class mean.

    Greedy selection of iCaRL (CVPR 2017, algorithm 4) by the model as it is now.
    """
    size = capacity // max(1, len(offered))
    return {c: np.sort(rows[_herded(embed(rows), size)]) for c, rows in offered.items()}


def _herded(embedding: NDArray[np.float32], size: int) -> list[int]:
    mean = embedding.mean(0)
    total = np.zeros_like(mean)
    chosen: list[int] = []
    for count in range(1, min(size, len(embedding)) + 1):
        gaps = np.linalg.norm(mean - (total + embedding) / count, axis=1)
        gaps[chosen] = np.inf
        chosen.append(int(gaps.argmin()))
        total = total + embedding[chosen[-1]]
    return chosen


def _priorities(rows: Indices, seed: int, client: str) -> NDArray[np.float64]:
    """Return a random number per item, a function of (seed, client, item) alone."""
    if not len(rows):
        return np.zeros(0)
    return rng_for(seed, "memory", client).random(int(rows.max()) + 1)[rows]
