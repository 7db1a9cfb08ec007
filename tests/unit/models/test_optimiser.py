import subprocess
import sys

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


def test_it_goes_where_that_of_torch_goes():
    ends = []
    for ours in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        optimiser = adamw(model.parameters(), 0.01, 0.1)
        if not ours:
            theirs = {"lr": 0.01, "weight_decay": 0.1, "fused": True}
            optimiser = torch.optim.AdamW(model.parameters(), **theirs)
        for _ in range(5):
            optimiser.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            optimiser.step()
        ends.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_no_process_imports_the_compiler_to_train():
    code = """
import sys, torch
from fedbridge.models.optimiser import adamw
weights = torch.nn.Parameter(torch.ones(2))
optimiser = adamw([weights], 0.1, 0.0)
weights.sum().backward()
optimiser.step()
optimiser.zero_grad()
assert weights.grad is None and "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
