"""How right a predictor is: scores, the calibrated mixture of both sides, counts."""

from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """``together``: a product of both sides' distributions, each raised to its own power."""

    small: float = 1.0
    large: float = 8.0

    def __call__(self, small: Tensor, large: Tensor) -> Tensor:
        """Combine logits of the small model and scores of the large side, ``(n, C)`` each."""
        return self.small * small.double() + self.large * large.double()


def fit_mixture(small: Tensor, large: Tensor, labels: Tensor) -> Mixture:
    """Fit both powers by maximum likelihood on validation items; the problem is convex.

    ``small`` and ``large`` are ``(n, C)`` over the classes in question, ``labels (n,)`` are
    columns. Every class counts the same, however many items the client has of it. Without items
    the default is returned.
    """
    if not len(labels):
        return Mixture()
    start = np.array([Mixture.small, Mixture.large])
    powers, _ = _fit_powers(torch.stack([small, large]), labels, start)
    return Mixture(float(powers[0]), float(powers[1]))


def sharpened_loss(scores: Tensor, labels: Tensor) -> float:
    """Return the class-balanced cross entropy of scores ``(n, C)`` at their best sharpness."""
    return _fit_powers(scores[None], labels, np.array([Mixture.large]))[1]


def class_balance(labels: Tensor) -> Tensor:
    """Return weights ``(n,)`` that sum to one, with the same sum for every class."""
    weights = 1.0 / labels.bincount()[labels].double()
    return weights / weights.sum()


def _fit_powers(sides: Tensor, labels: Tensor, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the powers of ``sides (S, n, C)`` with the least balanced loss, and that loss."""
    # in double precision: single precision's noise would end the line search too early
    sides, labels = sides.double().cpu(), labels.cpu()
    weights = class_balance(labels)
    right = sides[:, torch.arange(len(labels)), labels]  # (S, n)

    def loss(powers: np.ndarray) -> tuple[float, np.ndarray]:
        factors = torch.from_numpy(powers)
        logits = (factors[:, None, None] * sides).sum(0)
        value = weights @ (logits.logsumexp(1) - (factors[:, None] * right).sum(0))
        slope = ((logits.softmax(1) * sides).sum(2) - right) @ weights
        return float(value), slope.numpy()

    # on separable items the loss falls for ever as the powers grow
    bounds = [(0.0, 1e3)] * len(start)
    fit = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return fit.x, float(fit.fun)


def count_correct(scores: Tensor, labels: Tensor, classes: Tensor) -> int:
    """Count items whose best score among ``classes`` is their label; scores are ``(n, C)``."""
    best = classes[scores[:, classes].argmax(1)]
    return int((best == labels).sum())
