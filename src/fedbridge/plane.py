"""Embeddings in the shared space, brought to two dimensions to be looked at."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Sample = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Class ids ``(n,)`` and embeddings ``(n, P)`` of some items."""


@dataclass(frozen=True)
class Plane:
    """The plane in which points ``(n, P)`` vary most (principal component analysis)."""

    centre: Array  # (P,)
    axes: Array  # (P, 2)
    explained: tuple[float, float]
    """Fraction of the points' variance along each axis."""

    @classmethod
    def fit(cls, points: Array) -> "Plane":
        """Fit the plane; the sign of an axis makes its largest component positive."""
        centre = points.mean(0)
        _, lengths, directions = np.linalg.svd(points - centre, full_matrices=False)
        axes = np.zeros((points.shape[1], 2))
        found = directions[:2].T  # fewer than two for a single point
        axes[:, : found.shape[1]] = found
        largest = axes[np.abs(axes).argmax(0), np.arange(2)]
        shares = np.zeros(2)
        shares[: len(lengths[:2])] = lengths[:2] ** 2 / max(float((lengths**2).sum()), 1e-12)
        return cls(centre, axes * np.where(largest < 0, -1, 1), (shares[0], shares[1]))

    def __call__(self, points: Array) -> Array:
        """Return where points ``(n, P)`` lie in the plane, ``(n, 2)``."""
        return (points - self.centre) @ self.axes


def drawn(
    samples: Mapping[str, Sample],
    anchors: NDArray[np.float32],
    classes: tuple[str, ...],
) -> dict[str, object]:
    """Return what a picture of items and anchors ``(C, P)`` needs, as plain lists.

    ``samples`` are by client. A point is ``[class, x, y, cosine to its class's anchor]``, the class
    counted among those that occur; embeddings that are no numbers are left out, and where no
    others are there is no picture.
    Drawn is how the cosines to all these anchors differ from each other: whatever else there is
    in an embedding has no say in any answer.
    """
    samples = {name: _finite(sample) for name, sample in samples.items()}
    labels = np.concatenate([ids for ids, _ in samples.values()])
    if not len(labels):
        return {}
    points = np.concatenate([found for _, found in samples.values()]).astype(np.float64)
    met = np.unique(labels)
    corners = anchors[met].astype(np.float64)
    places = np.searchsorted(met, labels)
    cosines = points @ corners.T / np.linalg.norm(points, axis=1, keepdims=True).clip(1e-12)
    seen = cosines - cosines.mean(1, keepdims=True)  # (n, C'), as a softmax sees them
    plane = Plane.fit(seen)
    own = cosines[np.arange(len(labels)), places]
    table = np.column_stack([places, plane(seen), own])
    answers = corners @ corners.T
    ends = np.cumsum([len(ids) for ids, _ in samples.values()])[:-1]
    return {
        "explained": [round(share, 4) for share in plane.explained],
        "classes": [classes[c] for c in met],
        "anchors": plane(answers - answers.mean(1, keepdims=True)).round(3).tolist(),
        "clients": {
            name: [[int(c), *row] for c, *row in part.round(3).tolist()]
            for name, part in zip(samples, np.split(table, ends), strict=True)
        },
    }


def _finite(sample: Sample) -> Sample:
    labels, points = sample
    sound = np.isfinite(points).all(1)
    return labels[sound], points[sound]
