import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from paper import (
    NEW,
    NOTHING,
    OTHER,
    PUBLIC,
    WEIGHTS,
    Table,
    answer,
    context,
    entropy,
    logits,
    softmax,
    stepped,
)

from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.finetune import FineTune, finetune
from fedbridge.methods.lwf import LwF, lwf, lwf_loss
from worlds import same_state

ON = {"private": [NEW], "public": [PUBLIC], "both": [NEW, PUBLIC]}


def options(**changes: Any) -> LwF:
    explicit = {"weight": 0.5, "temperature": 2.0, "on": "private", "public_batch": 1}
    return LwF(**{**explicit, "classes": "seen", **changes})


def softened(weights: Table, one: ItemBatch, temperature: float) -> float:
    """Return the divergence of softened answers over the old classes, 0 and 1."""
    p = softmax(answer(one)[:2] / temperature)
    q = softmax(logits(weights, one)[:2] / temperature)
    return float((p * np.log(p / q)).sum())


def by_hand(weights: Table, on: list[ItemBatch], temperature: float = 2.0) -> float:
    kept = np.mean([softened(weights, one, temperature) for one in on])
    return entropy(weights, NEW) + 0.5 * float(kept)


def loss(chosen: LwF, made: TrainContext | None = None) -> float:
    public = NOTHING if chosen.on == "private" else PUBLIC
    return lwf_loss(made or context(), chosen, NEW, public).item()


@pytest.mark.parametrize("on", ON)
@pytest.mark.parametrize("temperature", [1.0, 2.0, 16.0])
def test_the_loss_by_hand(on: str, temperature: float):
    expected = by_hand(np.array(WEIGHTS), ON[on], temperature)
    assert loss(options(on=on, temperature=temperature)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("on", ON)
def test_one_step_by_hand(on: str):
    made = context()
    lwf(made, options(on=on))
    # a single item is taken twice, since normalisation layers cannot learn from one
    asked = [NEW, *ON[on]] if on != "public" else ON[on]
    expected = stepped(lambda weights: by_hand(weights, asked), np.array(WEIGHTS))
    np.testing.assert_allclose(made.model.projector.weight.detach(), expected, atol=1e-5)


def test_cross_entropy_may_run_over_the_tasks_classes_only():
    made = context(new=torch.tensor([0, 2]))
    weights = np.array(WEIGHTS)
    expected = entropy(weights, NEW, (0, 2)) + 0.5 * softened(weights, NEW, 2.0)
    assert loss(options(classes="task"), made) == pytest.approx(expected, rel=1e-5)


def test_public_items_that_are_not_asked_for_change_nothing():
    one, other = context(), context(public=OTHER)
    for made in (one, other):
        lwf(made, options(public_batch=7))
    assert same_state(one.model.state_dict(), other.model.state_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"task": dataclasses.replace(NEW, old_embeddings=None)},  # the first task
        {"old": torch.tensor([0])},  # of one class there is nothing to say
        {"old": torch.arange(0)},
    ],
)
def test_without_an_earlier_self_it_is_fine_tuning(changes: dict[str, Any]):
    one, other, weightless = context(**changes), context(**changes), context()
    lwf(one, options())
    finetune(other, FineTune())
    lwf(weightless, options(weight=0.0))
    assert same_state(one.model.state_dict(), other.model.state_dict())
    assert same_state(weightless.model.state_dict(), other.model.state_dict())


def test_a_model_that_says_what_it_said_pays_cross_entropy_alone():
    weights = np.array(WEIGHTS)
    same = torch.from_numpy(logits(weights, NEW)).float()[None] / 4.0
    as_before = dataclasses.replace(NEW, old_embeddings=same)
    found = lwf_loss(context(), options(weight=9.0), as_before, NOTHING).item()
    assert found == pytest.approx(entropy(weights, NEW), rel=1e-5)
