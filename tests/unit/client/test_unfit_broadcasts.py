"""A client takes nothing from a server that it cannot go on with."""

from dataclasses import replace

import pytest
import torch

from fedbridge.core.errors import UserError
from fedbridge.wire import Broadcast, State
from worlds import Played, same_state

NAN = torch.full((1,), torch.nan)
WEIGHT = "projector.weight"


def unfit(state: State) -> dict[str, tuple[dict[str, State], str]]:
    """Return parts of a broadcast that do not fit, and what is said of them."""
    cut = {k: v for k, v in state.items() if k != WEIGHT}
    return {
        "an array is missing": ({"state": cut}, f"state: '{WEIGHT}' must be there"),
        "one more": ({"state": {**state, "x": NAN}}, "state: must have 10 arrays, found one more"),
        "shape": (
            {"state": {**state, WEIGHT: state[WEIGHT].T}},
            f"state: '{WEIGHT}' must have shape (32, 128), found (128, 32)",
        ),
        "type": (
            {"state": {**state, WEIGHT: state[WEIGHT].half()}},
            "must be torch.float32, found",
        ),
        "infinite": (
            {"state": {**state, WEIGHT: state[WEIGHT] / 0}},
            f"state: '{WEIGHT}' must be finite, found",
        ),
        "head": ({"adapter": {"cross": NAN}}, "adapter: 'cross' must be finite, found nan"),
        "shared": (
            {"shared": {"prototypes": NAN}},
            "shared: 'prototypes' must be finite, found nan",
        ),
    }


CASES = [*unfit({WEIGHT: torch.zeros(32, 128)})]


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused_and_changes_nothing(case: str, fresh: Played):
    client = fresh.clients["client-1"]
    before = {k: v.clone() for k, v in client.model.state_dict().items()}
    parts, said = unfit(before)[case]
    broadcast = replace(Broadcast(1, 2), **parts)
    for taking in (client.learn, client.evaluate):
        with pytest.raises(UserError) as error:
            taking(broadcast)
        assert str(error.value).startswith("client-1: broadcast of task 1, round 2: ")
        assert said in str(error.value)
    assert same_state(client.model.state_dict(), before)
    assert client.task == 0 and client.offered == {}


def test_an_empty_one_leaves_the_model_as_it_is(fresh: Played):
    assert fresh.clients["client-1"].learn(Broadcast(1, 1)).state
