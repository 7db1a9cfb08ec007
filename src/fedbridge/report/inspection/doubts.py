"""Labels worth a second look: what all other items say of an item, by ridge regression."""

import numpy as np
from numpy.typing import NDArray

from fedbridge.report.inspection.result import PUBLIC, Doubt, Pool

STRENGTH = 0.1  # of the penalty, in mean eigenvalues
LEAST_MARGIN = 0.3
MOST = 20


def doubts(pool: Pool, classes: tuple[str, ...]) -> tuple[Doubt, ...]:
    """Return the items of which the others disagree most with the label, at most ``MOST``."""
    own = np.flatnonzero(pool.sides != PUBLIC)
    if pool.vectors is None or len(np.unique(pool.labels[own])) < 2:
        return ()
    known, labels = np.unique(pool.labels[own], return_inverse=True)
    scores = left_out(pool.vectors[own].astype(np.float64), labels)
    every = np.arange(len(own))
    mine = scores[every, labels]
    scores[every, labels] = -np.inf
    rival = scores.argmax(1)
    margins = scores[every, rival] - mine
    order = [int(row) for row in np.argsort(-margins)[:MOST] if margins[row] > LEAST_MARGIN]
    return tuple(
        Doubt(
            pool.places[own[row]],
            classes[known[labels[row]]],
            classes[known[rival[row]]],
            float(margins[row]),
        )
        for row in order
    )


def left_out(vectors: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return scores ``(n, C)`` of items ``(n, D)``, each by a ridge fitted on all others.

    In closed form from one fit: ``(y_hat - h y) / (1 - h)`` with the leverage h (Allen's PRESS).
    """
    z = vectors - vectors.mean(0)
    targets = np.eye(int(labels.max()) + 1)[labels]
    gram = z.T @ z
    penalty = STRENGTH * np.trace(gram) / len(gram) + 1e-12
    solved = np.linalg.solve(gram + penalty * np.eye(len(gram)), z.T)  # (D, n)
    leverage = (z * solved.T).sum(1, keepdims=True) + 1.0 / len(z)
    fitted = z @ (solved @ targets) + targets.mean(0)
    scores: NDArray[np.float64] = (fitted - leverage * targets) / np.maximum(1 - leverage, 1e-9)
    return scores
