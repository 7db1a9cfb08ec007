"""How much of a fused model a client accepts: as much as its own validation items recommend."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fedbridge.wire import State

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Verdict(NamedTuple):
    """What validation items say of a model."""

    loss: float
    correct: int
    """Items whose best class, of all seen so far, is their label."""


class Accepted(NamedTuple):
    """The model that a client goes on from, and what was said of it and of the own one."""

    state: State
    share: float
    own: Verdict
    taken: Verdict


def accepted(own: State, fused: State, judge: Callable[[State], Verdict]) -> Accepted:
    """Return the model with the least loss on the way from the own to the fused one.

    Weights of a model and of what a little training made of it may be interpolated, and the best
    lies often in between (WiSE-FT, CVPR 2022). Counters come from the fused model.
    """
    ways = [_between(own, fused, share) for share in SHARES]
    verdicts = [judge(way) for way in ways]
    losses = [verdict.loss for verdict in verdicts]
    best = losses.index(min(losses))
    return Accepted(ways[best], SHARES[best], verdicts[0], verdicts[best])


def _between(own: State, fused: State, share: float) -> State:
    return {key: _mixed(own[key], value, share) for key, value in fused.items()}


def _mixed(own: Tensor, fused: Tensor, share: float) -> Tensor:
    if not fused.is_floating_point():
        return fused
    mixed = torch.lerp(own, fused, share)
    return torch.where(own.isfinite() & fused.isfinite(), mixed, fused)  # masks stay infinite
