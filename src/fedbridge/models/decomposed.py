"""A small model as FedWeIT (ICML 2021) sees it: matrices of a shared base, and a task's additions.

What has fewer than two dimensions (biases, normalisation) and all buffers belong to a task whole.
"""

from torch import Tensor, nn

from fedbridge.config import Config

ADAPTIVE = "adaptive/"
"""What the names of a task's additions begin with on the wire, beside those of the base."""


def matrices(model: nn.Module) -> list[str]:
    """Return the names of the parameters that have a base: all of two dimensions or more."""
    return [name for name, weight in model.named_parameters() if weight.ndim > 1]


def as_uploaded(config: Config, model: nn.Module) -> dict[str, Tensor]:
    """Return arrays of the names, shapes and types that are uploaded of a small model."""
    state: dict[str, Tensor] = model.state_dict()
    if not config.decomposes:
        return state
    return state | {ADAPTIVE + name: state[name].clone() for name in matrices(model)}
