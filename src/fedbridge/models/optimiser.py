"""The optimiser of small models: AdamW, in the form that is quickest on a processor."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

Plain = torch.optim.Optimizer
_step: Callable[..., Any] = inspect.unwrap(torch.optim.AdamW.step)


class Uncompiled(torch.optim.AdamW):
    """AdamW that does not prepare for torch.compile.

    What torch wraps around these methods imports its compiler when the first of them is called,
    which takes a process about as long as to import torch itself, and is of no use here.
    """

    add_param_group = inspect.unwrap(Plain.add_param_group)
    zero_grad = inspect.unwrap(Plain.zero_grad)
    state_dict = inspect.unwrap(Plain.state_dict)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move all weights once."""
        return _step(self, closure)


def adamw(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> torch.optim.AdamW:
    """Return AdamW that updates all weights in one pass over them.

    By default torch takes several on a processor, which for tables of token vectors cost a good
    part of a step. The results differ by rounding.
    """
    return Uncompiled(parameters, lr=rate, weight_decay=decay, fused=True)
