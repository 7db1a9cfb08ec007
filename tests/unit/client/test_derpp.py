import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from paper import (
    NEW,
    NOTHING,
    OLD,
    OTHER,
    WEIGHTS,
    Table,
    answer,
    context,
    entropy,
    logits,
    stepped,
)

from fedbridge.client.client import FederatedClient
from fedbridge.methods.context import ItemBatch
from fedbridge.methods.derpp import DERPP, derpp, derpp_loss, with_first_answers
from fedbridge.models.small.space import embed
from fedbridge.wire import State, Step
from worlds import Played, make_world, play, same_state, tiny_config


def options(**changes: Any) -> DERPP:
    explicit = {"alpha": 0.3, "beta": 0.7, "memory": 3, "keep": "balanced", "memory_batch": 1}
    return DERPP(**{**explicit, **changes})


def dark_term(weights: Table, one: ItemBatch) -> float:
    return float(np.square(logits(weights, one) - answer(one)).mean())


def by_hand(weights: Table, alpha: float = 0.3, beta: float = 0.7) -> float:
    terms = entropy(weights, NEW), dark_term(weights, OLD), entropy(weights, OTHER)
    return terms[0] + alpha * terms[1] + beta * terms[2]


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (0.0, 0.7), (0.3, 0.0), (0.0, 0.0)])
def test_the_loss_by_hand(alpha: float, beta: float):
    found = derpp_loss(context(), options(alpha=alpha, beta=beta), NEW, (OLD, OTHER)).item()
    assert found == pytest.approx(by_hand(np.array(WEIGHTS), alpha, beta), rel=1e-5)


def test_answers_are_compared_over_the_classes_seen():
    made = context(seen=torch.tensor([1, 2]))
    gap = np.square(logits(np.array(WEIGHTS), OLD) - answer(OLD))[[1, 2]].mean()
    found = derpp_loss(made, options(beta=0.0), NEW, (OLD, OTHER)).item()
    expected = entropy(np.array(WEIGHTS), NEW, (1, 2)) + 0.3 * gap
    assert found == pytest.approx(expected, rel=1e-5)


def test_one_step_by_hand():
    made = context(memory=OLD)
    derpp(made, options())

    def loss(weights: Table) -> float:
        kept = 0.3 * dark_term(weights, OLD) + 0.7 * entropy(weights, OLD)
        return entropy(weights, NEW) + kept

    expected = stepped(loss, np.array(WEIGHTS))
    np.testing.assert_allclose(made.model.projector.weight.detach(), expected, atol=1e-5)


def test_without_memory_there_is_nothing_but_the_task():
    found = derpp_loss(context(), options(), NEW, (NOTHING, NOTHING)).item()
    assert found == pytest.approx(entropy(np.array(WEIGHTS), NEW), rel=1e-5)
    first = dataclasses.replace(NOTHING, old_embeddings=None)
    made = context(memory=first)
    derpp(made, options())
    assert made.notes == {}


# first answers


def test_new_exemplars_take_their_answer_and_old_ones_keep_theirs():
    notes: State = {
        "items": torch.tensor([7, OLD.items[0]]),
        "answers": torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    }
    made = context(memory=OTHER + OLD, notes=notes)

    found = with_first_answers(made)

    assert found.old_embeddings is not None and OTHER.old_embeddings is not None
    expected = torch.cat([OTHER.old_embeddings, torch.tensor([[0.0, 0.0, 1.0]])])
    assert torch.equal(found.old_embeddings, expected)
    assert torch.equal(notes["items"], torch.cat([OTHER.items, OLD.items]))  # 7 has left
    assert torch.equal(notes["answers"], expected)
    assert torch.equal(with_first_answers(made).old_embeddings, expected)  # in later rounds too


def three_tasks(**learner: Any) -> Played:
    config = tiny_config(
        scenario={"tasks": 3},
        learner={"name": "derpp", "memory": 4, "keep": "balanced", **learner},
        fusion={"name": "none"},
    )
    return play(make_world(config), [])


def study(played: Played, client: FederatedClient, task: int) -> None:
    for round_ in (1, 2):
        client.learn(dataclasses.replace(played.broadcasts(task, round_)[client.name], state={}))


@pytest.mark.parametrize("interrupted", [False, True])
def test_answers_are_those_of_the_end_of_an_items_task(interrupted: bool, tmp_path: Path):
    played = three_tasks()
    world, client = played.world, played.clients["client-1"]
    expected: dict[int, torch.Tensor] = {}
    for task in (1, 2):
        study(played, client, task)
        for rows in client.memory.values():
            said = embed(client.model, world.private().inputs_of(rows))
            expected |= {
                r: e for r, e in zip(rows.tolist(), said, strict=True) if r not in expected
            }
        if interrupted:
            client.save(tmp_path)
            client = world.client()
            client.load(tmp_path)

    client.learn(dataclasses.replace(played.broadcasts(3)["client-1"], state={}))

    items = client.notes["items"].tolist()
    kept = {row for rows in client.memory.values() for row in rows.tolist()}
    assert set(items) == kept < set(expected)  # earlier classes have made room
    for item, said in zip(items, client.notes["answers"], strict=True):
        torch.testing.assert_close(said, expected[item], rtol=0, atol=1e-6)
    moved = embed(client.model, world.private().inputs_of(np.array(items)))
    assert (moved - client.notes["answers"]).norm() > 0.1


def test_a_client_goes_on_in_the_same_way_after_an_interruption(tmp_path: Path):
    played = three_tasks()
    client = played.clients["client-1"]
    study(played, client, 1)
    study(played, client, 2)
    client.save(tmp_path)
    again = played.world.client()
    again.load(tmp_path)
    for each in (client, again):
        study(played, each, 3)
    assert same_state(client.model.state_dict(), again.model.state_dict())
    assert same_state(client.notes, again.notes)


def test_items_that_leave_memory_leave_the_notes():
    config = tiny_config(
        scenario={"tasks": 3, "order": "same"},
        learner={"name": "derpp", "memory": 2, "keep": "reservoir"},
        fusion={"name": "none"},
    )
    played = play(make_world(config), [Step(t, r) for t in (1, 2) for r in (1, 2)])
    client = played.clients["client-1"]
    before = set(client.notes["items"].tolist())
    client.learn(played.broadcasts(3)["client-1"])
    kept = {row for rows in client.memory.values() for row in rows.tolist()}
    assert set(client.notes["items"].tolist()) == kept
    assert before - kept  # the reservoir was full after the first task
