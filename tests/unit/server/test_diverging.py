"""What is noted of a model that diverged: whose it was, and the rate, where there is one."""

import pytest
import torch

from fedbridge.server.diverging import astray
from fedbridge.wire import Upload
from worlds import tiny_config


@pytest.mark.parametrize(
    ("head", "rate", "said"),
    [
        ("probe", 0.5, "step 3 with large.probe_lr = 0.5;"),
        ("prototypes", 0.5, "step 3 with large.probe_lr = 0.5;"),
        ("analytic", 0.0, "step 3; the last good one"),
        ("none", 0.0, "step 3; the last good one"),
    ],
)
def test_the_rate_is_that_of_the_head_if_it_has_one(head: str, rate: float, said: str):
    options = {"head": head} | ({"probe_lr": rate} if rate else {})
    upload = Upload("a", 1, 1, state={"w": torch.ones(1)}, seen=(0,), diverged=3)
    noted = astray(tiny_config(large=options), upload)
    assert noted.about == {"step": 3, "rate": rate}
    assert said in noted.reason and "large side" in noted.reason
