"""How much of a fused model a client accepts: as much as its own validation items recommend."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import torch

from fedbridge.core.states import placeholder
from fedbridge.wire import State

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class ValidationScore(NamedTuple):
    """What validation items say of a model."""

    loss: float
    correct: int
    """Items whose best class, of all seen so far, is their label."""


class Accepted(NamedTuple):
    """The model that a client goes on from, and what was said of it and of the own one."""

    state: State
    share: float
    own: ValidationScore
    taken: ValidationScore


def accepted(own: State, fused: State, judge: Callable[[State], ValidationScore]) -> Accepted:
    """Return the model with the least loss on the way from the own to the fused one.

    Weights of a model and of what a little training made of it may be interpolated, and the best
    lies often in between (WiSE-FT, CVPR 2022). Counters come from the fused model.
    """
    # what is infinite to stand for nothing, as in masks, cannot be mixed
    masks = {key for key, value in fused.items() if placeholder(value) or placeholder(own[key])}
    ways = [_between(own, fused, share, masks) for share in SHARES]
    verdicts = [judge(way) for way in ways]
    losses = [verdict.loss for verdict in verdicts]
    best = losses.index(min(losses))
    return Accepted(ways[best], SHARES[best], verdicts[0], verdicts[best])


def _between(own: State, fused: State, share: float, masks: Collection[str]) -> State:
    mixed = {
        key: torch.lerp(own[key], value, share) if value.is_floating_point() else value
        for key, value in fused.items()
    }
    for key in masks:
        finite = own[key].isfinite() & fused[key].isfinite()
        mixed[key] = torch.where(finite, mixed[key], fused[key])
    return mixed
