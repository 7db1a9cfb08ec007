"""A world small enough for paper: pixels are 0 or 255, the model is linear, anchors are axes."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.smcf import SMCF, smcf, smcf_loss
from worlds import bare_context, linear_model, same_state, tiny_config

TAU, RATE, DECAY = 4.0, 0.01, 0.1
WEIGHTS = [[1.0, 0.2], [-0.3, 0.8], [0.5, 0.5]]
Table = NDArray[np.float64]


def options(**changes: object) -> SMCF:
    explicit = {
        "previous": 0.5,
        "large": 0.25,
        "on": "both",
        "public_batch": 1,
        "memory": 5,
        "memory_batch": 1,
        "rehearsal": 1.0,
        "relation": 0.0,
    }
    return SMCF(**{**explicit, **changes})


def one(pixels: list[int], label: int, previous: list[float], guide: list[float]) -> ItemBatch:
    inputs = torch.tensor([[pixels]], dtype=torch.uint8)[:, :, None]
    answers = torch.tensor([previous]), torch.tensor([guide])
    return ItemBatch(inputs, torch.tensor([label]), *answers, items=torch.tensor([label]))


PRIVATE = one([255, 0], 2, [0.6, 0.8, 0.0], [0.2, 1.8, 0.8])
PUBLIC = one([255, 255], -1, [0.0, 1.0, 0.0], [1.4, 0.4, 0.6])
MEMORY = one([0, 255], 1, [0.0, 0.6, 0.8], [0.4, 1.6, 0.2])


NOTHING = dataclasses.replace(MEMORY[torch.arange(0)], old_embeddings=None)


def context(**changes: object) -> TrainContext:
    """Return the third task of a client: class 2 is new, 0 and 1 are old, the head knows all."""
    training = {"epochs": 1, "batch": 4, "lr": RATE, "weight_decay": DECAY}
    config = tiny_config(small={"temperature": TAU, "dimension": 3}, training=training)
    made = TrainContext(
        model=linear_model(WEIGHTS),
        shared=bare_context(config, 3, PUBLIC.inputs, torch.zeros(1, 2)),
        task=PRIVATE,
        memory=NOTHING,
        public=PUBLIC,
        seen=torch.arange(3),
        new=torch.tensor([2]),
        old=torch.tensor([0, 1]),
        taught=torch.arange(3),
        generator=torch.Generator().manual_seed(0),
    )
    return dataclasses.replace(made, **changes)


# the formula once more, in NumPy and without a framework


def softmax(logits: Table) -> Table:
    e = np.exp(logits)
    return e / e.sum()


def divergence(teacher: Table, student: Table) -> float:
    p, q = softmax(teacher), softmax(student)
    return float((p * np.log(p / q)).sum())


def embedding(weights: Table, item: ItemBatch) -> Table:
    e = weights @ (item.inputs.numpy().reshape(-1)[:2] / 255.0)
    return e / np.linalg.norm(e)


def answer(item: ItemBatch, of: str) -> Table:
    table: Tensor = getattr(item, of)
    return table[0].double().numpy()


def entropy_term(weights: Table, item: ItemBatch) -> float:
    return -math.log(softmax(TAU * embedding(weights, item))[int(item.labels)])


def previous_term(weights: Table, item: ItemBatch) -> float:
    then, now = TAU * answer(item, "old_embeddings"), TAU * embedding(weights, item)
    return divergence(then[:2], now[:2])  # over the old classes


def large_term(weights: Table, item: ItemBatch) -> float:
    return divergence(answer(item, "teacher_logits"), TAU * embedding(weights, item))


def by_hand(
    weights: Table, on: list[ItemBatch], previous: float = 0.5, large: float = 0.25
) -> float:
    return (
        entropy_term(weights, PRIVATE)
        + previous * sum(previous_term(weights, item) for item in on) / len(on)
        + large * sum(large_term(weights, item) for item in on) / len(on)
    )


def loss(
    made: TrainContext,
    chosen: SMCF,
    private: ItemBatch = PRIVATE,
    public: ItemBatch = PUBLIC,
    kept: ItemBatch = NOTHING,
) -> float:
    return smcf_loss(made, chosen, (private, kept, public)).item()


PLACES = {"public": [PUBLIC], "private": [PRIVATE], "both": [PRIVATE, PUBLIC]}


@pytest.mark.parametrize("on", PLACES)
def test_the_loss_by_hand(on: str):
    expected = by_hand(np.array(WEIGHTS), PLACES[on])
    assert loss(context(), options(on=on)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rehearsal", [0.0, 0.5, 2.0])
def test_remembered_items_have_a_mean_and_a_weight_of_their_own(rehearsal: float):
    weights, chosen = np.array(WEIGHTS), options(previous=0, large=0, rehearsal=rehearsal)
    expected = entropy_term(weights, PRIVATE) + rehearsal * entropy_term(weights, MEMORY)
    for kept in (MEMORY, MEMORY + MEMORY + MEMORY):
        assert loss(context(), chosen, kept=kept) == pytest.approx(expected, rel=1e-5)


def relation_term(weights: Table, item: ItemBatch) -> float:
    """Classes 0 and 1 are old: there the earlier self is aimed at, for class 2 the label."""
    aims = [*(1 / (1 + np.exp(-TAU * answer(item, "old_embeddings")[:2]))), float(item.labels == 2)]
    p = 1 / (1 + np.exp(-TAU * embedding(weights, item)))
    return -float(
        sum(a * math.log(q) + (1 - a) * math.log(1 - q) for a, q in zip(aims, p, strict=True))
    )


@pytest.mark.parametrize("relation", [0.25, 2.0])
def test_private_items_and_exemplars_are_also_judged_class_by_class(relation: float):
    weights = np.array(WEIGHTS)
    chosen = options(previous=0, large=0, rehearsal=0, relation=relation)
    kept = dataclasses.replace(MEMORY, old_embeddings=torch.tensor([[0.0, 0.6, 0.8]]))
    both = relation_term(weights, PRIVATE) + relation_term(weights, kept)
    expected = entropy_term(weights, PRIVATE) + relation * both / 2
    assert loss(context(), chosen, kept=kept) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("on", ["public", "private", "both"])
def test_remembered_items_are_distilled_on_like_private_ones(on: str):
    weights = np.array(WEIGHTS)
    places = {
        "public": [PUBLIC],
        "private": [PRIVATE, MEMORY],
        "both": [PRIVATE, MEMORY, PUBLIC],
    }
    expected = by_hand(weights, places[on]) + entropy_term(weights, MEMORY)
    assert loss(context(), options(on=on), kept=MEMORY) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("on", ["public", "private", "both"])
def test_of_classes_not_met_the_large_side_speaks_on_public_items_alone(on: str):
    weights, met = np.array(WEIGHTS), [0, 2]
    made = context(seen=torch.tensor(met), old=torch.tensor([0]))  # but all three are taught

    def term(item: ItemBatch, classes: list[int]) -> float:
        return divergence(
            answer(item, "teacher_logits")[classes], TAU * embedding(weights, item)[classes]
        )

    terms = {"private": [term(PRIVATE, met)], "public": [term(PUBLIC, [0, 1, 2])]}
    terms["both"] = terms["private"] + terms["public"]
    entropy = -math.log(softmax(TAU * embedding(weights, PRIVATE)[met])[1])
    expected = entropy + 0.25 * sum(terms[on]) / len(terms[on])
    assert loss(made, options(on=on)) == pytest.approx(expected, rel=1e-5)


def test_without_exemplars_the_earlier_self_teaches_all_the_same():
    assert NOTHING.old_embeddings is None
    found = loss(context(), options(large=0)) - loss(context(), options(large=0, previous=0))
    terms = [previous_term(np.array(WEIGHTS), item) for item in (PRIVATE, PUBLIC)]
    assert found == pytest.approx(0.5 * sum(terms) / 2, rel=1e-4) and found > 0


@pytest.mark.parametrize("on", PLACES)
def test_a_weight_of_zero_switches_a_term_off(on: str):
    weights = np.array(WEIGHTS)
    for previous, large in ((0, 0.25), (0.5, 0), (0, 0)):
        found = loss(context(), options(on=on, previous=previous, large=large))
        assert found == pytest.approx(by_hand(weights, PLACES[on], previous, large), rel=1e-5)


def test_switched_off_is_the_same_as_never_there():
    first = dataclasses.replace(PRIVATE, old_embeddings=None)
    bare = context(old=torch.arange(0), taught=torch.arange(0), task=first)
    off = options(previous=0, large=0)

    assert loss(context(), off) == loss(bare, options(), first)
    assert loss(context(), options(large=0)) == loss(
        context(taught=torch.arange(0)), options()
    )  # no head yet
    assert loss(context(), options(previous=0)) == loss(
        context(old=torch.arange(0)), options()
    )  # no earlier self
    assert loss(context(taught=torch.tensor([1])), options()) == loss(context(), options(large=0))


def test_terms_grow_linearly_with_their_weights():
    for term in ("previous", "large"):
        zero, half, whole = (loss(context(), options(**{term: w})) for w in (0.0, 2.0, 4.0))
        assert whole - zero == pytest.approx(2 * (half - zero), rel=1e-4)
        assert half > zero


def test_a_student_that_says_what_its_teachers_say_pays_cross_entropy_alone():
    e = torch.from_numpy(embedding(np.array(WEIGHTS), PUBLIC)).float()[None]
    same = dataclasses.replace(PUBLIC, old_embeddings=e, teacher_logits=TAU * e)
    chosen = options(on="public", previous=3.0, large=3.0)
    assert loss(context(), chosen, public=same) == pytest.approx(
        entropy_term(np.array(WEIGHTS), PRIVATE), rel=1e-5
    )


@pytest.mark.parametrize("term", ["previous", "large"])
def test_the_gradient_of_every_term_reaches_the_model(term: str):
    made = context()
    others = {"previous": 0.0, "large": 0.0}

    def slope(chosen: SMCF) -> Tensor:
        made.model.zero_grad()
        smcf_loss(made, chosen, (PRIVATE, NOTHING, PUBLIC)).backward()
        return made.model.projector.weight.grad.clone()

    alone, with_term = slope(options(**others)), slope(options(**others | {term: 1.0}))
    assert alone.isfinite().all() and alone.abs().sum() > 0
    assert (with_term - alone).abs().sum() > 1e-3


def test_one_step_by_hand():
    made, weights, chosen = context(), np.array(WEIGHTS), options()
    slope = np.zeros_like(weights)
    for place in np.ndindex(*weights.shape):
        nudge = np.zeros_like(weights)
        nudge[place] = 1e-6
        up, down = (by_hand(weights + s * nudge, PLACES["both"]) for s in (1, -1))
        slope[place] = (up - down) / 2e-6

    smcf(made, chosen)

    # AdamW: weights decay, then the first step goes one rate against the gradient's sign
    expected = weights * (1 - RATE * DECAY) - RATE * slope / (np.abs(slope) + 1e-8)
    assert np.abs(slope).min() > 1e-4
    np.testing.assert_allclose(made.model.projector.weight.detach(), expected, atol=1e-5)


def test_learning_lowers_the_loss():
    training = {"epochs": 30, "lr": RATE, "weight_decay": 0.0, "batch": 4}
    made = context()
    config = tiny_config(small={"temperature": TAU, "dimension": 3}, training=training)
    made = dataclasses.replace(made, shared=dataclasses.replace(made.shared, config=config))
    before = loss(made, options())

    smcf(made, options())

    assert loss(made, options()) < before - 0.1


def test_without_memory_nothing_is_drawn_from_it():
    with_memory, without = context(memory=MEMORY), context()
    smcf(with_memory, options(memory_batch=3))
    smcf(without, options(memory_batch=3))
    one_state, other = with_memory.model.state_dict(), without.model.state_dict()
    assert not same_state(one_state, other)

    again = context()
    smcf(again, options(memory_batch=64))  # a size that must not matter
    assert same_state(again.model.state_dict(), other)


def test_public_items_have_no_say_where_nothing_is_distilled_on_them():
    other = dataclasses.replace(
        PUBLIC, inputs=255 - PUBLIC.inputs, teacher_logits=-PUBLIC.teacher_logits
    )
    assert loss(context(), options(on="private")) == loss(
        context(), options(on="private"), public=other
    )
