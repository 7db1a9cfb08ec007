import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from paper import NEW, OLD, OTHER, WEIGHTS, context, entropy, stepped

from fedbridge.methods.finetune import FineTune, finetune
from fedbridge.methods.replay import Replay, replay
from fedbridge.methods.smcf import SMCF, smcf
from fedbridge.wire import encode
from worlds import make_world, play, same_state, tiny_config


def options(**changes: Any) -> Replay:
    return Replay(**{"memory": 5, "keep": "balanced", "memory_batch": 3, **changes})


def uploads(learner: dict[str, Any]) -> list[bytes]:
    world = make_world(tiny_config(learner=learner, fusion={"name": "none"}))
    return [encode(upload) for upload in play(world).transport.uploads]


def test_one_step_by_hand():
    made = context(memory=OLD)
    replay(made, options())  # the only exemplar is drawn three times

    def loss(weights: np.ndarray) -> float:
        return (entropy(weights, NEW) + 3 * entropy(weights, OLD)) / 5 + entropy(weights, NEW) / 5

    # a single item is taken twice, since normalisation layers cannot learn from one
    expected = stepped(loss, np.array(WEIGHTS))
    np.testing.assert_allclose(made.model.projector.weight.detach(), expected, atol=1e-5)


def test_without_memory_it_is_fine_tuning():
    one, other = context(epochs=3), context(epochs=3)
    replay(one, options())
    finetune(other, FineTune())
    assert same_state(one.model.state_dict(), other.model.state_dict())
    assert uploads({"name": "replay", "memory": 0}) == uploads({"name": "finetune"})


@pytest.mark.parametrize("keep", ["balanced", "reservoir", "herding"])
def test_what_is_remembered_is_learnt_again(keep: str):
    with_memory = uploads({"name": "replay", "memory": 3, "keep": keep})
    assert with_memory != uploads({"name": "finetune"})


def test_smcf_without_its_teachers_is_replay():
    """Their first step is the same where a batch holds as many remembered items as new ones.

    Replay takes one mean over both and SMCF a mean of each, which Adam's first step does not tell
    apart; later ones differ in what the generator has been asked for.
    """
    one, other = (context(task=NEW + OTHER, memory=OLD + OTHER) for _ in range(2))
    replay(one, options(memory_batch=2))
    smcf(other, SMCF(previous=0.0, large=0.0, memory=5, memory_batch=2, public_batch=4))
    for key, value in one.model.state_dict().items():
        torch.testing.assert_close(value, other.model.state_dict()[key], rtol=0, atol=1e-6)


def test_labels_of_all_seen_classes_count():
    few = context(memory=OLD, seen=torch.tensor([1, 2]))
    many = context(memory=OLD)
    for made in (few, many):
        replay(made, options())
    assert not same_state(few.model.state_dict(), many.model.state_dict())


def test_nothing_but_labels_is_used():
    for change in ({"old_embeddings": None}, {"teacher_logits": torch.ones(1, 3)}):
        one = context(memory=OLD)
        other = context(memory=dataclasses.replace(OLD, **change))
        for made in (one, other):
            replay(made, options())
        assert same_state(one.model.state_dict(), other.model.state_dict())
