"""Embeddings in the shared space, brought to two dimensions to be looked at."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

Array = NDArray[np.float64]
Sample = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Class ids ``(n,)`` and embeddings ``(n, P)`` of some items."""


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
    answers = corners @ corners.T
    ends = answers - answers.mean(1, keepdims=True)  # (C', C')
    plane = plane_of(seen)
    own = cosines[np.arange(len(labels)), places]
    table = np.column_stack([places, project(plane, seen), own])
    parts = np.cumsum([len(ids) for ids, _ in samples.values()])[:-1]
    return {
        "explained": [round(share, 4) for share in shares_of(plane)],
        "classes": [classes[c] for c in met],
        "anchors": project(plane, ends).round(3).tolist(),
        "clients": {
            name: [[int(c), *row] for c, *row in part.round(3).tolist()]
            for name, part in zip(samples, np.split(table, parts), strict=True)
        },
    }


def plane_of(points: Array) -> "PCA":
    """Return the plane in which points ``(n, P)`` vary most (principal component analysis).

    The sign of an axis makes its largest component positive, whatever the order of the points.
    """
    from sklearn.decomposition import PCA  # takes longer to load than to use

    points = points if len(points) > 1 else np.tile(points, (2, 1))  # one point has no variance
    with np.errstate(invalid="ignore"):  # points that are all alike: see ``shares_of``
        plane = PCA(2, svd_solver="full").fit(_wide(points))
    axes = plane.components_  # (2, P)
    largest = axes[np.arange(2), np.abs(axes).argmax(1)]
    axes *= np.where(largest < 0, -1, 1)[:, None]
    return plane


def project(plane: "PCA", points: Array) -> Array:
    """Return where points ``(n, P)`` lie in a plane, ``(n, 2)``."""
    places: Array = plane.transform(_wide(points))
    return places


def _wide(points: Array) -> Array:
    """Return points with two coordinates at least, as many as a plane has."""
    return np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1]))))


def shares_of(plane: "PCA") -> list[float]:
    """Return the fraction of the points' variance along each axis, 0 where they do not vary."""
    shares: list[float] = np.nan_to_num(plane.explained_variance_ratio_).tolist()
    return shares


def _finite(sample: Sample) -> Sample:
    labels, points = sample
    sound = np.isfinite(points).all(1)
    return labels[sound], points[sound]
