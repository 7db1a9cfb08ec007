"""The head of the large side, solved from sums: it cannot forget and needs no data to be sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, get_blas_funcs, get_lapack_funcs
from torch import Tensor

from fedbridge.core.rng import rng_for

Array = NDArray[np.float64]
ROUNDED = 16 * 2.0**-24
"""A bound on what rounding to float32 does to sums, in parts of their trace: 3 units of it are
enough for sums that were computed in float64, and 16 for most that were not."""
LOST = 1e-37
"""Squares below this are lost in float32."""


class UnsolvableError(ArithmeticError):
    """SufficientStatistics give no head."""


@dataclass(frozen=True)
class FeatureMap:
    """The map from FM embeddings to the head's features, fitted on the public set alone."""

    mean: NDArray[np.float32]  # (D,)
    scale: NDArray[np.float32]  # (D,)
    projection: NDArray[np.float32] | None  # (D, M)

    @classmethod
    def fit(cls, public: NDArray[np.float32], units: int, seed: int) -> "FeatureMap":
        """Standardise by the embeddings ``(|U|, D)`` of U, then project randomly to ``units``.

        The random projection with a ReLU is RanPAC's (NeurIPS 2023); 0 units leave it out.
        """
        mean, deviation = public.mean(0), public.std(0)
        # a feature that U hardly excites may be strong elsewhere: it must not be blown up
        scale = np.maximum(deviation, deviation.mean() + 1e-12)
        if not units:
            return cls(mean, scale, None)
        rng = rng_for(seed, "projection")
        weights = rng.standard_normal((public.shape[1], units)) / np.sqrt(public.shape[1])
        return cls(mean, scale, weights.astype(np.float32))

    @property
    def dimension(self) -> int:
        """Number of features ``M`` of the head."""
        return len(self.mean) if self.projection is None else self.projection.shape[1]

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map embeddings ``(n, D)`` to features ``(n, M)``."""
        z = (embeddings - self.mean) / self.scale
        return z if self.projection is None else np.maximum(z @ self.projection, 0.0)


@dataclass(frozen=True)
class SufficientStatistics:
    """All that the head needs to know of data: ``G = Z'Z``, ``H = Z'Y`` and counts."""

    gram: Array  # (M, M)
    cross: Array  # (M, C)
    counts: Array  # (C,)

    @classmethod
    def zero(cls, dimension: int, classes: int) -> "SufficientStatistics":
        """Return the sums of no data."""
        return cls(
            np.zeros((dimension, dimension)), np.zeros((dimension, classes)), np.zeros(classes)
        )

    @classmethod
    def of(
        cls, z: NDArray[np.float32], targets: Array, weights: Array | None = None
    ) -> "SufficientStatistics":
        """Sum features ``(n, M)`` with target rows ``(n, C)``, each item weighted by ``(n,)``."""
        z64 = z.astype(np.float64)
        weighted = z64 if weights is None else z64 * weights[:, None]
        rows = targets if weights is None else targets * weights[:, None]
        return cls(weighted.T @ z64, weighted.T @ targets, rows.sum(0))

    def __add__(self, other: "SufficientStatistics") -> "SufficientStatistics":
        return SufficientStatistics(
            self.gram + other.gram, self.cross + other.cross, self.counts + other.counts
        )

    def scaled(self, factor: float) -> "SufficientStatistics":
        """Return the sums with every item counted ``factor`` times."""
        return SufficientStatistics(self.gram * factor, self.cross * factor, self.counts * factor)

    def rounded(self) -> "SufficientStatistics":
        """Return the sums as exact as they travel."""
        parts = (self.gram, self.cross, self.counts)
        return SufficientStatistics(*(part.astype(np.float32).astype(np.float64) for part in parts))

    @property
    def finite(self) -> bool:
        """Return whether all of them are numbers."""
        return bool(np.isfinite(self.gram.sum() + self.cross.sum() + self.counts.sum()))

    def ridge(self, strength: float) -> Array:
        """Solve ``(G + lambda I) W = H`` for ``W (M, C)``, lambda = strength * mean eigenvalue.

        Raises UnsolvableError if there is no such W, as of sums that are of no items.
        """
        size = len(self.gram)
        penalty = strength * np.trace(self.gram) / size
        if penalty == 0.0:
            return np.zeros_like(self.cross)
        system = self.gram.T.copy(order="F")  # symmetric: LAPACK factors this copy in place
        system[np.diag_indices(size)] += penalty
        try:
            factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError as error:
            raise UnsolvableError from error
        return _finite(np.asarray(cho_solve(factor, self.cross, check_finite=False)))

    def nearest_mean(self) -> Array:
        """Return ``W (M, C)`` of unit class means, 0 for a class without data.

        Raises UnsolvableError if sums are not finite.
        """
        means = self.cross / np.maximum(self.counts, 1.0)
        lengths: Array = np.maximum(np.linalg.norm(means, axis=0), 1e-12)
        return _finite(means / lengths)


def _finite(weights: Array) -> Array:
    if not np.isfinite(weights).all():
        raise UnsolvableError
    return weights


def one_hot(labels: NDArray[np.int64], classes: int) -> Array:
    """Return target rows ``(n, C)`` of labels ``(n,)``."""
    return np.eye(classes)[labels]


def packed(sums: SufficientStatistics) -> dict[str, Tensor]:
    """Return sums as they travel: float32, and of G the upper triangle only."""
    parts = {"gram": sums.gram[_upper(len(sums.gram))], "cross": sums.cross, "counts": sums.counts}
    return {name: torch.from_numpy(part.astype(np.float32)) for name, part in parts.items()}


def unpacked(parts: Mapping[str, Tensor]) -> SufficientStatistics:
    """Return the sums that ``packed`` made these parts of; an empty ``gram`` is all zero."""
    cross, counts = (parts[name].cpu().double().numpy() for name in ("cross", "counts"))
    gram = np.zeros((len(cross), len(cross)))
    if len(parts["gram"]):
        upper = _upper(len(cross))
        gram[upper] = gram.T[upper] = parts["gram"].cpu().numpy()
    return SufficientStatistics(gram, cross, counts)


def possible(parts: Mapping[str, Tensor]) -> bool:
    """Return whether there can be items with these sums, which ``packed`` made.

    ``[[G, H], [H', N]]``, N the counts, is positive semidefinite whatever the items are; it is as
    soon as ``G - H N^-1 H'`` is. What rounding changes of that matrix is less than ``ROUNDED`` of
    its trace, and a thousandth of its mean eigenvalue is less than any ridge.
    """
    # float32 is quicker, and what it finds to be positive is
    return any(_positive(parts, kind) for kind in (np.float32, np.float64))


def _positive(parts: Mapping[str, Tensor], kind: type[np.floating[Any]]) -> bool:
    upper, cross, counts = (parts[name].numpy() for name in ("gram", "cross", "counts"))
    size, met = len(cross), counts > 0
    unpack, factor = get_lapack_funcs(("tpttr", "potrf"), dtype=kind)
    update = get_blas_funcs("syrk", dtype=kind)
    gram, _ = unpack(size, upper.astype(kind), uplo="L")  # to Fortran, rows of U are columns of L
    ridge = np.trace(gram, dtype=np.float64) * max(ROUNDED, 1e-3 / size) + size * LOST
    means = (cross[:, met] / np.sqrt(counts[met])).astype(kind)
    if met.any():
        gram = update(-1.0, means, beta=1.0, c=gram, lower=1, overwrite_c=1)
    gram[np.diag_indices(size)] += kind(ridge)
    _, failed = factor(gram, lower=1, overwrite_a=1, clean=0)
    return not failed


def _upper(size: int) -> NDArray[np.bool_]:
    return np.tri(size, dtype=bool).T
