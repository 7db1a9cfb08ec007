"""The large side that is trained by gradient: what the server makes of it."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedbridge.methods.context import SharedContext
from fedbridge.methods.probe import HEAD, Averaged, ReceivedHead
from fedbridge.models.statistics import SufficientStatistics
from fedbridge.wire import Step, Upload
from worlds import bare_context, same_state, tiny_config

SIZE, CLASSES = 2, 3


def context_of(**large: object) -> SharedContext:
    # the learner has no sharpness of its own, so the mixture's default of 8 makes logits
    config = tiny_config(large={"head": "probe", **large}, learner={"name": "finetune"})
    return bare_context(config, CLASSES, torch.zeros(2, 1, 16, 16), torch.eye(SIZE))


def side(**large: object) -> Averaged:
    shared = context_of(**large)
    return Averaged(shared, ("a", "b"), shared.config.large)


def upload(client: str, items: int, **adapter: Tensor) -> Upload:
    return Upload(client, 1, 1, {}, (0, 1), num_examples=items, adapter=adapter)


def head(large: Averaged, client: str) -> Tensor:
    return large.adapter(client)["head"]


def full(value: float) -> Tensor:
    return torch.full((SIZE, CLASSES), value)


def test_before_any_upload_it_says_nothing():
    large = side()
    for _ in range(2):
        assert set(large.adapter("a")) == {"head"}
        assert torch.equal(head(large, "a"), full(0.0))
        large.finish_round([])


def test_the_mean_is_weighted_by_training_items():
    large = side()
    large.absorb(upload("a", 30, head=full(1.0), tokens=torch.tensor([4.0])))
    large.absorb(upload("b", 10, head=full(5.0), tokens=torch.tensor([8.0])))
    assert torch.equal(head(large, "a"), full(0.0))  # the round is not over
    large.finish_round([])
    for client in ("a", "b"):
        # (30 * 1 + 10 * 5) / 40 = 2, over the sharpness of 8
        assert torch.equal(head(large, client), full(0.25))
        assert torch.equal(large.adapter(client)["tokens"], torch.tensor([5.0]))


def test_a_round_begins_from_what_comes_in_and_nothing_of_earlier_ones():
    large = side()
    for value in (1.0, 3.0):
        large.absorb(upload("a", 7, head=full(value)))
        large.finish_round([])
    assert torch.equal(head(large, "a"), full(3.0 / 8))


def test_what_has_no_items_or_trained_nothing_does_not_count():
    large = side()
    large.absorb(upload("a", 0, head=full(9.0)))
    large.absorb(upload("b", 5))
    large.finish_round([])
    assert not head(large, "a").any()


def test_on_their_own_clients_keep_what_they_trained():
    large = side(scope="client")
    large.absorb(upload("a", 30, head=full(8.0)))
    large.finish_round([])
    assert torch.equal(head(large, "a"), full(1.0))
    assert not head(large, "b").any()
    large.absorb(upload("b", 1, head=full(16.0)))
    large.finish_round([])
    assert torch.equal(head(large, "a"), full(1.0))
    assert torch.equal(head(large, "b"), full(2.0))


@pytest.mark.parametrize("scope", ["federation", "client"])
def test_it_survives_save_and_load(scope: str, tmp_path: Path):
    large, again = side(scope=scope), side(scope=scope)
    large.absorb(upload("a", 3, head=full(2.0), **{"layer.0.lora_A": torch.ones(2)}))
    large.finish_round([])
    large.save(tmp_path)
    again.load(tmp_path)
    for client in ("a", "b"):
        assert same_state(again.adapter(client), large.adapter(client))


def test_the_order_of_uploads_does_not_matter():
    uploads = [upload(c, n, head=torch.rand(SIZE, CLASSES)) for c, n in (("a", 3), ("b", 11))]
    heads = []
    for order in (uploads, uploads[::-1]):
        large = side()
        for each in order:
            large.absorb(each)
        large.finish_round([])
        heads.append(head(large, "a"))
    torch.testing.assert_close(*heads)


# on a client


def received() -> ReceivedHead:
    shared = context_of()
    made = HEAD.client(shared, shared.config.large)
    assert isinstance(made, ReceivedHead)
    return made


def test_a_client_takes_the_head_that_is_sent_as_it_is():
    one, sent = received(), torch.arange(6.0).reshape(SIZE, CLASSES)
    assert one.weights.shape == (SIZE, CLASSES) and not one.weights.any()
    one.take({"head": sent, "layer": torch.ones(1)})
    assert torch.equal(one.weights, sent)
    one.take({})
    one.add(SufficientStatistics.zero(SIZE, CLASSES))
    one.select_hyperparameters(torch.ones(2, 2), torch.tensor([0, 1]), torch.arange(2))
    assert torch.equal(one.weights, sent) and one.known.tolist() == [0, 1, 2]
    again = received()
    again.load(one.state())  # whoever only predicts is sent nothing more
    assert torch.equal(again.weights, sent)


def test_the_probe_starts_at_what_was_sent_and_learns_with_the_settings_rates():
    one = received()
    one.take({"head": torch.ones(SIZE, CLASSES)})
    (training,) = one.trainable(torch.tensor([0]), torch.tensor([0, 2]), Step(1, 1))
    assert torch.equal(training.learnt[0], full(8.0))  # logits: the scores times their sharpness
    assert (training.epochs, training.lr) == (2, 0.005)
    # class 1 was not seen: two logits of 8 (x + y), and the label's place is the second
    loss = training.loss(torch.tensor([[1.0, 0.0]]), torch.tensor([2]), {})
    assert loss.item() == pytest.approx(math.log(2))
