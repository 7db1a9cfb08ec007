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
    columns. Without items the default is returned.
    """
    if not len(labels):
        return Mixture()
    sides = torch.stack([small, large]).double().cpu()
    right = sides[:, torch.arange(len(labels)), labels.cpu()]  # (2, n)

    def loss(powers: np.ndarray) -> tuple[float, np.ndarray]:
        logits = (torch.from_numpy(powers)[:, None, None] * sides).sum(0)
        p = logits.softmax(1)
        value = (logits.logsumexp(1) - (torch.from_numpy(powers)[:, None] * right).sum(0)).mean()
        slope = ((p * sides).sum(2) - right).mean(1)
        return float(value), slope.numpy()

    start = np.array([Mixture.small, Mixture.large])
    fit = scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(0.0, 1e3), (0.0, 1e3)]
    )
    return Mixture(float(fit.x[0]), float(fit.x[1]))


def count_correct(scores: Tensor, labels: Tensor, classes: Tensor) -> int:
    """Count items whose best score among ``classes`` is their label; scores are ``(n, C)``."""
    best = classes[scores[:, classes].argmax(1)]
    return int((best == labels).sum())
