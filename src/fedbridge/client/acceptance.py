"""How much of a fused model a client accepts: as much as its own validation items recommend."""

from collections.abc import Callable

import torch

from fedbridge.wire import State

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def accepted(own: State, fused: State, loss: Callable[[State], float]) -> State:
    """Return the model with the least loss on the way from the own to the fused one.

    Weights of a model and of what a little training made of it may be interpolated, and the best
    lies often in between (WiSE-FT, CVPR 2022). Counters come from the fused model.
    """
    ways = [_between(own, fused, share) for share in SHARES]
    losses = [loss(way) for way in ways]
    return ways[losses.index(min(losses))]


def _between(own: State, fused: State, share: float) -> State:
    return {
        key: torch.lerp(own[key], value, share) if value.is_floating_point() else value
        for key, value in fused.items()
    }
