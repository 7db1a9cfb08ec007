"""The server's part of PILoRA (Guo et al., ECCV 2024): prototypes weighted by where they lie.

A class's prototype p_k of client k is the nearer to what everybody's items are like, the more it
counts: ``d_k = sum_j |p_k - f_j|`` with f_j the mean of client j's features of the class, and

    p = sum_k w_k p_k,   w = softmax(s / 0.2),   s_k = 1 / d_k, stretched to reach from 0 to 1

as in the public code. Adapted: over the clients that have items of the class; the result is scaled
to length 1. The low-rank matrices are averaged by training items.
"""

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.server.averaged import Averaged
from fedbridge.wire import State, Upload

TEMPERATURE = 0.2


class Reweighted(Averaged):
    """Prototypes on the FM and, where it is tuned, the trained part of the FM itself."""

    def __init__(self, commons: SharedContext, clients: tuple[str, ...]) -> None:
        super().__init__(commons, clients)
        self._sent: dict[str, list[State]] = {}

    @cached_property
    def trained(self) -> State:
        """Return what the probe has, and the means ``(M, C)`` of classes' features."""
        parts = super().trained
        return parts | {"means": torch.zeros_like(parts["head"])}

    def adapter(self, client: str) -> State:
        """Return the prototypes and the trained part of the FM."""
        return dict(self.parts[self._key(client)])

    def absorb(self, upload: Upload) -> None:
        """Keep a client's prototypes and means; add the rest to the sums."""
        if not upload.adapter or not upload.items:
            return
        self._sent.setdefault(self._key(upload.client), []).append(upload.adapter)
        rest = {k: v for k, v in upload.adapter.items() if k not in ("head", "means")}
        super().absorb(replace(upload, adapter=rest))

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Weigh the prototypes, and average the trained part of the FM."""
        before = {key: part["head"] for key, part in self.parts.items()}
        super().finish_round(models)
        for key, sent in self._sent.items():
            heads, means = (torch.stack([s[name] for s in sent]) for name in ("head", "means"))
            self.parts[key]["head"] = reweighted(before[key], heads, means)
        self._sent = {}
        return []


def reweighted(before: Tensor, heads: Tensor, means: Tensor) -> Tensor:
    """Return prototypes ``(M, C)`` from those of K clients and their classes' means ``(K, M, C)``.

    A class of which nobody has a mean keeps the prototype it had ``before``.
    """
    has = means.abs().sum(1) > 0  # (K, C)
    gaps = torch.zeros(has.shape, dtype=torch.float64)
    for mean, there in zip(means.double(), has, strict=True):
        gaps += there * (heads.double() - mean).norm(dim=1)
    near = 1.0 / gaps.clamp(min=1e-12)
    least = near.masked_fill(~has, torch.inf).amin(0)
    span = near.masked_fill(~has, -torch.inf).amax(0) - least
    scaled = torch.where(span > 0, (near - least) / span, 0.0).masked_fill(~has, -torch.inf)
    weights = (scaled / TEMPERATURE).softmax(0).nan_to_num()  # (K, C)
    mean = F.normalize((weights[:, None] * heads.double()).sum(0), dim=0)
    return torch.where(has.any(0), mean.float(), before)
