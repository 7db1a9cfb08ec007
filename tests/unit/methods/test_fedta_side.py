"""Prototypes that the server selects, and prompts that it fuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fedbridge.methods.fedta import Selected, fused, selected
from fedbridge.models.fm.tuning import tunable
from fedbridge.wire import Step, Upload
from tiny_transformers import save_vit
from worlds import bare_context, same_state, tiny_config

NOTHING, NONE = torch.zeros(2, 2), torch.zeros(2)


def columns(*vectors: tuple[float, float]) -> Tensor:
    """Return one client's prototypes: column c is the c-th vector."""
    return torch.tensor(vectors).T


def test_the_one_that_is_least_like_the_others_is_selected():
    # class 0: (1, 0) of one client and (0, 2) of another; class 1: (3, 3) of the first
    local = torch.stack([columns((1.0, 0.0), (3.0, 3.0)), columns((-1.0, 1.0), (0.0, 0.0))])
    after, settled = selected(NOTHING, NONE, local, threshold=0.2)
    # cosines to (3, 3): 0.707 and 0; with both of its own class counting as 1
    assert after.T.tolist() == [[-1.0, 1.0], [3.0, 3.0]]
    assert settled.tolist() == [0.0, 0.0]  # the lowest mean is (1 + 1 + 0) / 3


def test_below_the_threshold_it_is_for_good():
    # means: class 0 (1 - 1) / 2, class 1 the same
    local = columns((1.0, 0.0), (-2.0, 0.0))[None]
    after, settled = selected(NOTHING, NONE, local, threshold=0.25)
    assert torch.equal(after, local[0]) and settled.tolist() == [1.0, 1.0]
    later = columns((0.0, 1.0), (0.0, 1.0))[None]
    again, still = selected(after, settled, later, threshold=0.25)
    assert torch.equal(again, after) and torch.equal(still, settled)


def test_what_was_selected_before_is_a_candidate():
    before = columns((-1.0, 0.0), (1.0, 0.1))
    local = columns((1.0, 0.0), (0.0, 0.0))[None]
    after, _ = selected(before, NONE, local, threshold=1e-9)
    assert torch.equal(after, before)


def test_nobody_has_anything():
    after, settled = selected(NOTHING, NONE, NOTHING[None], threshold=0.5)
    assert torch.equal(after, NOTHING) and torch.equal(settled, NONE)


def side(**large: object) -> Selected:
    config = tiny_config(large={"head": "tail-anchors", **large}, learner={"name": "finetune"})
    shared = bare_context(config, 2, torch.zeros(2, 1, 16, 16), torch.eye(1))
    return Selected(shared, ("a", "b"), config.large)


def upload(client: str, prototypes: Tensor) -> Upload:
    return Upload(client, 1, 1, {}, (0,), num_examples=3, adapter={"prototypes": prototypes})


def test_clients_get_the_selected_and_not_which_are_settled(tmp_path: Path):
    large, again = side(), side()
    assert {k: tuple(v.shape) for k, v in large.trained.items()} == {"prototypes": (2, 2)}
    large.absorb(upload("a", columns((1.0, 0.0), (-2.0, 0.0))))
    large.absorb(
        replace(upload("b", columns((9.0, 0.0), (9.0, 0.0))), num_examples=0)
    )  # learnt nothing
    large.finish_round([])
    sent = large.adapter("b")
    assert torch.equal(sent["prototypes"], columns((1.0, 0.0), (-2.0, 0.0)))
    assert set(sent) == {"prototypes"}
    large.save(tmp_path)
    again.load(tmp_path)
    assert same_state(again.adapter("a"), sent)
    for one in (large, again):  # settled stays settled
        one.absorb(upload("a", columns((0.0, 1.0), (0.0, 1.0))))
        one.finish_round([])
        assert same_state(one.adapter("a"), sent)


def test_on_their_own_clients_keep_their_prototypes():
    large = side(scope="client")
    large.absorb(upload("a", columns((1.0, 0.0), (-2.0, 0.0))))
    large.finish_round([])
    assert large.adapter("a")["prototypes"].any() and not large.adapter("b")["prototypes"].any()


def test_fused_prompts_give_what_those_of_the_others_give(tmp_path: Path):
    large = {
        "head": "tail-anchors", "model": save_vit(tmp_path), "size": 16, "tuning": "pool",
        "tuning_size": 2, "pool": 3, "top_k": 2, "probe_epochs": 30, "tuning_lr": 0.02,
    }  # fmt: skip
    config = tiny_config(large=large, learner={"name": "finetune"})
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 1, 16, 16), dtype=np.uint8)
    shared = bare_context(config, 2, torch.zeros(8, 1, 16, 16), torch.eye(8, 16))
    shared = replace(shared, public_items=pictures)
    fm = tunable(config.large, shared.device, config.seed)
    generator = torch.Generator().manual_seed(0)

    def noisy(v: Tensor) -> Tensor:
        return v + 0.5 * torch.randn(v.shape, generator=generator)

    # keys do not move, and their lengths count for nothing: they tell whose prompts learnt
    states = [
        {"keys": (k + 1) * fm.fresh["keys"], "prompts": noisy(fm.fresh["prompts"])}
        for k in range(3)
    ]

    def said(state: dict[str, Tensor]) -> Tensor:
        fm.load(state)
        return fm.encode(pictures, 8)

    found = fused(shared, config.large, states, Step(1, 1))
    (chosen,) = [k for k in range(3) if torch.equal(found["keys"], states[k]["keys"])]
    others = (said(states[chosen - 1]) + said(states[chosen - 2])) / 2

    def apart(state: dict[str, Tensor]) -> float:
        return float((said(state) - others).square().mean())

    assert apart(found) < 0.5 * apart(states[chosen])
    assert same_state(fused(shared, config.large, states, Step(1, 1)), found)
    assert same_state(fused(shared, config.large, states[:1], Step(1, 1)), states[0])


@pytest.fixture(autouse=True)
def _no_fm_stays():
    yield
    tunable.cache_clear()
