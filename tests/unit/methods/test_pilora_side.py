"""Prototypes at the server: who counts how much."""

import math
from pathlib import Path

import torch
from torch import Tensor

from fedbridge.methods.pilora import Reweighted, reweighted
from fedbridge.wire import Upload
from worlds import bare_context, same_state, tiny_config

X, Y, MINUS = (torch.tensor(v)[:, None] for v in ([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]))
NOTHING = torch.zeros(2, 1)


def test_the_weights_by_hand():
    # both have items like X: the first prototype lies there, the second does not
    found = reweighted(NOTHING, torch.stack([X, Y]), torch.stack([X, 0.5 * X]))
    # distances 0 + 1/2 and sqrt 2 + sqrt 5 / 2, whose inverses are stretched to 1 and 0
    weight = 1 / (1 + math.exp(-1 / 0.2))
    mean = torch.tensor([[weight], [1 - weight]])
    torch.testing.assert_close(found, mean / mean.norm())


def test_three_clients_by_hand():
    heads, means = torch.stack([X, Y, MINUS]), torch.stack([X, X, Y])
    found = reweighted(NOTHING, heads, means)
    two = math.sqrt(2)
    near = torch.tensor([1 / two, 1 / (two + two), 1 / (2 + 2 + two)])
    weights = ((near - near[2]) / (near[0] - near[2]) / 0.2).softmax(0)
    mean = (weights[:, None, None] * heads).sum(0)
    torch.testing.assert_close(found, mean / mean.norm())


def test_who_has_no_items_of_a_class_has_no_say():
    found = reweighted(NOTHING, torch.stack([X, Y]), torch.stack([X, NOTHING]))
    torch.testing.assert_close(found, X)


def test_a_class_of_nobody_keeps_its_prototype_and_equals_count_the_same():
    found = reweighted(MINUS, torch.stack([X, Y]), torch.zeros(2, 2, 1))
    assert torch.equal(found, MINUS)
    same = reweighted(NOTHING, torch.stack([X, X]), torch.stack([Y, Y]))
    torch.testing.assert_close(same, X)


def side(**large: object) -> Reweighted:
    config = tiny_config(large={"head": "prototypes", **large}, learner={"name": "finetune"})
    shared = bare_context(config, 1, torch.zeros(2, 1, 16, 16), torch.eye(2))
    return Reweighted(shared, ("a", "b"), config.large)


def upload(client: str, items: int, head: Tensor, means: Tensor, **part: Tensor) -> Upload:
    adapter = {"head": head, "means": means, **part}
    return Upload(client, 1, 1, {}, (0,), num_examples=items, adapter=adapter)


def test_matrices_are_averaged_by_items_and_means_stay_at_the_server():
    large = side()
    assert set(large.trained) == {"head", "means"}
    large.absorb(upload("a", 30, X, X, lora=torch.tensor([4.0])))
    large.absorb(upload("b", 10, X, X, lora=torch.tensor([8.0])))
    large.finish_round([])
    sent = large.adapter("a")
    assert set(sent) == {"head", "lora"} and sent["lora"].item() == 5.0
    torch.testing.assert_close(sent["head"], X)
    large.finish_round([])  # nobody came
    assert same_state(large.adapter("b"), sent)


def test_on_their_own_clients_keep_their_prototypes():
    large = side(scope="client")
    large.absorb(upload("a", 3, Y, X))
    large.finish_round([])
    torch.testing.assert_close(large.adapter("a")["head"], Y)
    assert not large.adapter("b")["head"].any()


def test_it_survives_save_and_load(tmp_path: Path):
    large, again = side(), side()
    large.absorb(upload("a", 3, X, Y, lora=torch.ones(2)))
    large.finish_round([])
    large.save(tmp_path)
    again.load(tmp_path)
    assert same_state(again.adapter("a"), large.adapter("a"))
