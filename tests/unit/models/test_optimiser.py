import pytest
import torch
from torch import nn

from fedbridge.models.optimiser import adamw


def test_a_first_step_is_one_rate_against_the_gradient_after_the_decay():
    weights = nn.Parameter(torch.tensor([1.0, -2.0, 4.0]))
    optimiser = adamw([weights], rate=0.1, decay=0.5)
    (weights * torch.tensor([3.0, 0.2, 0.0])).sum().backward()
    optimiser.step()
    assert weights.tolist() == pytest.approx([0.95 - 0.1, -1.9 - 0.1, 3.8], abs=1e-6)
