import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from paper import (
    NEW,
    OLD,
    OTHER,
    WEIGHTS,
    Table,
    answer,
    context,
    entropy,
    logits,
    softmax,
    stepped,
)

from fedbridge.methods.context import ItemBatch
from fedbridge.methods.glfc import GLFC, compensation, glfc, glfc_loss

BATCH = NEW + OLD + OTHER
ITEMS = [NEW, OLD, OTHER]


def options(**changes: Any) -> GLFC:
    explicit = {"compensation": 0.5, "relation": 0.25, "memory": 3, "memory_batch": 2}
    return GLFC(**{**explicit, "keep": "herding", **changes})


def sizes(weights: Table) -> list[float]:
    """Return the gradients ``|p(label) - 1|`` of the three items."""
    return [1 - softmax(logits(weights, one))[int(one.labels)] for one in ITEMS]


def compensated(weights: Table, frozen: Table) -> float:
    """Return the first loss; its weights are constants, taken at ``frozen``."""
    new, old, other = sizes(frozen)
    mean = (old + other) / 2  # classes 0 and 1 are old, class 2 is new
    factors = [new / new, old / mean, other / mean]
    return sum(f * entropy(weights, one) for f, one in zip(factors, ITEMS, strict=True)) / 3


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def related(weights: Table, one: ItemBatch) -> float:
    """Return the second loss of an item: what the old model says of 0 and 1, the label for 2."""
    aims = [sigmoid(answer(one)[0]), sigmoid(answer(one)[1]), float(one.labels == 2)]
    total = 0.0
    for logit, aim in zip(logits(weights, one), aims, strict=True):
        p = sigmoid(logit)
        total -= aim * math.log(p) + (1 - aim) * math.log(1 - p)
    return total


def by_hand(weights: Table, frozen: Table, relation: float = 0.25) -> float:
    apart = sum(related(weights, one) for one in ITEMS) / 3
    return 0.5 * compensated(weights, frozen) + relation * apart


@pytest.mark.parametrize("relation", [0.25, 0.0])
def test_the_loss_by_hand(relation: float):
    found = glfc_loss(context(), options(relation=relation), BATCH).item()
    weights = np.array(WEIGHTS)
    assert found == pytest.approx(by_hand(weights, weights, relation), rel=1e-5)


def test_one_step_by_hand():
    made = context(task=NEW + OLD + OTHER)
    glfc(made, options())
    weights = np.array(WEIGHTS)
    expected = stepped(lambda w: by_hand(w, weights), weights)
    np.testing.assert_allclose(made.model.projector.weight.detach(), expected, atol=1e-5)


def test_exemplars_are_learnt_beside_new_items():
    made, alone = context(memory=OLD), context()
    for each in (made, alone):
        glfc(each, options())
    assert (made.model.projector.weight - alone.model.projector.weight).abs().max() > 1e-3


def test_in_the_first_task_only_items_of_new_classes_are_weighed():
    first = dataclasses.replace(BATCH, old_embeddings=None)
    made = context(old=torch.arange(0), new=torch.arange(3))
    found = glfc_loss(made, options(), first).item()
    weights = np.array(WEIGHTS)
    mean = sum(sizes(weights)) / 3
    pairs = zip(sizes(weights), ITEMS, strict=True)
    expected = 0.5 * sum(s / mean * entropy(weights, one) for s, one in pairs) / 3
    assert found == pytest.approx(expected, rel=1e-5)


@st.composite
def batches(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    values = st.floats(-100, 100, width=32)
    table = torch.from_numpy(draw(arrays(np.float32, (rows, classes), elements=values)))
    columns = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    old = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    return table, torch.tensor(columns), torch.tensor(old)


@given(batches())
def test_both_groups_count_alike_and_weights_stay_finite(
    batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
):
    weights, old = compensation(*batch), batch[2]
    assert bool(weights.isfinite().all()) and bool((weights >= -1e-6).all())
    for group in (weights[old], weights[~old]):
        if len(group) and group.abs().max() > 0:
            assert float(group.mean()) == pytest.approx(1.0, rel=1e-3)


def test_an_item_that_is_known_weighs_nothing_and_one_that_is_not_weighs_most():
    table = torch.tensor([[50.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    found = compensation(table, torch.zeros(3, dtype=torch.int64), torch.zeros(3) > 0)
    assert found[0] == 0 and found[0] < found[1] < found[2]
