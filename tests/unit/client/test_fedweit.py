"""A model that is made of parts: a base, and what tasks add to it."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from paper import NEW, NOTHING, WEIGHTS, context
from torch import Tensor

from fedbridge.client.measuring import scores_of
from fedbridge.core.errors import UserError
from fedbridge.methods.context import TrainContext
from fedbridge.methods.fedweit import (
    Decomposed,
    FedWeITLearner,
    body,
    fedweit,
    matrices,
    task_model,
)
from fedbridge.models.small.space import embed
from fedbridge.wire import State, Step
from worlds import Played, World, make_world, play, tiny_config

NAME = "projector.weight"
RATE = 0.01
BASE, MASK = torch.tensor(WEIGHTS), torch.tensor([[0.0], [math.log(3.0)], [-math.log(3.0)]])
ADDED, OTHERS = 0.5 * torch.ones(3, 2), torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])


def options(**changes: Any) -> FedWeITLearner:
    return FedWeITLearner(**{"sparse": 0.0, "retain": 0.0, "classes": "seen", **changes})


def parts(task: int = 1, attention: float = 0.5) -> State:
    return {
        f"base/{NAME}": BASE,
        f"{task}/mask/{NAME}": MASK,
        f"{task}/adaptive/{NAME}": ADDED,
        f"{task}/attention/{NAME}": torch.tensor([attention]),
    }


def in_parts(number: int = 1, **changes: Any) -> TrainContext:
    """Return a lesson on one item whose model is made of the parts in its notes."""
    given = {"notes": parts(number), "received": {f"{NAME}/other": OTHERS}, "client": "me"}
    made = context(decay=0.0, task=NEW, number=number, **{**given, **changes})
    return dataclasses.replace(made, start=dict(made.model.state_dict()))


def test_a_matrix_by_hand():
    # masks of 1/2, 3/4 and 1/4 of the units, one half added
    expected = torch.tensor([[1.0, 0.6], [0.275, 1.1], [0.625, 0.625]])
    torch.testing.assert_close(body(parts(), 1, NAME), expected)
    made = in_parts()
    Decomposed(made, options())
    torch.testing.assert_close(made.model.projector.weight.detach(), expected + 0.5 * OTHERS)


def test_own_additions_and_those_of_other_architectures_are_not_borrowed():
    shared = {f"{NAME}/me": OTHERS, f"{NAME}/wider": torch.ones(3, 4), "conv/small": torch.ones(2)}
    made = in_parts(received=shared, notes=parts() | {f"1/attention/{NAME}": torch.zeros(0)})
    Decomposed(made, options())
    torch.testing.assert_close(made.model.projector.weight.detach(), body(parts(), 1, NAME))


def test_one_step_passes_the_slopes_on_to_all_parts():
    made = in_parts()
    optimiser = Decomposed(made, options())
    loss = made.classification_loss(made.model(NEW.inputs.float() / 255), NEW.labels, made.seen)
    made.optimizer_step(optimiser, loss)
    slope = made.model.projector.weight.grad
    assert slope is not None
    m = MASK.sigmoid()
    slopes = {  # Adam's first step is the sign's
        f"base/{NAME}": slope * m,
        f"1/mask/{NAME}": (slope * BASE).sum(1, keepdim=True) * m * (1 - m),
        f"1/adaptive/{NAME}": slope,
        f"1/attention/{NAME}": (slope * OTHERS).sum()[None],
    }
    for key, value in slopes.items():
        moved = optimiser.parts[key].detach() - parts()[key]
        torch.testing.assert_close(moved, -RATE * value.sign(), rtol=1e-3, atol=1e-6)


def test_the_penalty_by_hand():
    notes = parts(1) | parts(2) | {f"1/aim/{NAME}": body(parts(1), 1, NAME) + 0.1}
    made = in_parts(2, notes=notes)
    # twice six additions of 1/2; six numbers that are 0.1 away from where they were
    found = Decomposed(made, options(sparse=0.25, retain=10.0)).penalty()
    torch.testing.assert_close(found, torch.tensor(0.25 * 6.0 + 10.0 / 2 * 6 * 0.01))


def test_a_task_begins_with_the_base_which_takes_what_fusions_change():
    made = context(epochs=1, task=NOTHING, client="me")
    made = dataclasses.replace(
        made, start={k: v.clone() for k, v in made.model.state_dict().items()}
    )
    fedweit(made, options())
    torch.testing.assert_close(made.model.projector.weight.detach(), BASE)
    moved = {k: v + 0.25 for k, v in made.start.items()}  # as some fusion may have it
    made.model.load_state_dict(moved)
    fedweit(dataclasses.replace(made, start=moved), options())
    torch.testing.assert_close(made.model.projector.weight.detach(), moved[NAME])
    # half of the base, all of the change: the base itself has moved by twice as much
    fedweit(dataclasses.replace(made, start=moved, number=2), options())
    torch.testing.assert_close(made.model.projector.weight.detach(), BASE + 0.5)


def world_of(fusion: str = "fedweit", clients: int = 2, **learner: Any) -> World:
    chosen = {"learner": {"name": "fedweit", **learner}, "fusion": {"name": fusion}}
    scenario = {"clients": clients, "tasks": 3}
    return make_world(tiny_config(**chosen, scenario=scenario, large={"head": "none"}))


def test_a_task_is_recalled_as_it_ended():
    played = play(world_of("none"), [Step(1, 1), Step(1, 2)])
    client = played.clients["client-1"]
    found, expected = task_model(client.notes, 1), client.model.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert task_model(client.notes, 2) == {}


def drift(retain: float) -> float:
    """Return how far the recalled first task moves while two more are learnt."""
    played = play(world_of(retain=retain), [Step(1, 1), Step(1, 2)])
    notes = played.clients["client-1"].notes
    before = {name: value.clone() for name, value in task_model(notes, 1).items()}
    for step in (Step(2, 1), Step(2, 2), Step(3, 1), Step(3, 2)):
        for upload in played.transport.exchange(played.server.broadcast(step)):
            played.server.absorb(upload)
        played.server.finish_round(step)
    after = task_model(notes, 1)
    assert torch.equal(after["projector.bias"], before["projector.bias"])
    return float((after[NAME] - before[NAME]).norm())


def test_earlier_tasks_are_retained_though_the_base_is_everybodys():
    assert drift(100.0) < 0.3 * drift(0.0)


def test_every_task_is_answered_by_its_own_model():
    played = play(world_of())
    client = played.clients["client-1"]
    rows = played.world.streams.clients[0].tasks[0].test
    inputs = played.world.private().inputs_of(rows)
    scores, _ = scores_of(client, rows)
    for number in (1, 2, 3):
        model = played.world.shared.small_model("mlp", "client-1")
        model.load_state_dict(task_model(client.notes, number))
        classes = torch.tensor(sorted(played.world.streams.clients[0].tasks[number - 1].classes))
        expected = played.world.shared.logits(embed(model, inputs), classes)
        torch.testing.assert_close(scores[:, classes], expected, rtol=1e-4, atol=1e-4)


def uploaded(played: Played) -> Tensor:
    return played.transport.uploads[0].state[NAME]


def test_to_its_own_fusion_it_sends_the_base_and_what_the_task_added():
    played = play(world_of(), [Step(1, 1)])
    client = played.clients["client-1"]
    sent = played.transport.uploads[0].state
    names = matrices(client.model)
    assert set(sent) == set(client.model.state_dict()) | {f"adaptive/{name}" for name in names}
    assert all(client.model.get_parameter(name).ndim > 1 for name in names) and NAME in names
    assert torch.equal(sent[NAME], client.notes[f"base/{NAME}"])
    assert torch.equal(sent[f"adaptive/{NAME}"], client.notes[f"1/adaptive/{NAME}"])
    assert not torch.equal(sent[NAME], client.model.projector.weight)


def test_to_another_fusion_it_sends_the_model():
    played = play(world_of("fedavg"), [Step(1, 1)])
    model = played.clients["client-1"].model
    assert set(played.transport.uploads[0].state) == set(model.state_dict())
    assert torch.equal(uploaded(played), model.projector.weight)


def test_a_base_that_is_sent_waits_for_the_next_round():
    played = play(world_of(), [Step(1, 1)])
    client = played.clients["client-1"]
    before = {k: v.clone() for k, v in client.model.state_dict().items()}
    sent = played.broadcasts(1, 2)["client-1"]
    client.evaluate(sent)
    assert all(torch.equal(value, before[k]) for k, value in client.model.state_dict().items())
    assert torch.equal(client.notes[f"sent/{NAME}"], sent.state[NAME])
    client.learn(sent)
    assert f"sent/{NAME}" not in client.notes


def test_what_others_added_comes_with_the_next_task():
    played = play(world_of(clients=3))
    notes = played.clients["client-1"].notes
    assert [len(notes[f"{task}/attention/{NAME}"]) for task in (1, 2, 3)] == [0, 2, 2]
    assert notes[f"2/attention/{NAME}"].abs().min() > 0.0
    assert not notes[f"1/borrowed/{NAME}"].any() and notes[f"2/borrowed/{NAME}"].any()


def test_what_is_no_model_cannot_be_absorbed():
    names = {"learner": {"name": "fedweit"}, "fusion": {"name": "fedweit"}}
    with pytest.raises(UserError, match=r"large\.student_weight: must be 0 .* found 0\.5"):
        tiny_config(**names, large={"student_weight": 0.5})
    tiny_config(
        learner={"name": "fedweit"}, fusion={"name": "fedavg"}, large={"student_weight": 0.5}
    )
