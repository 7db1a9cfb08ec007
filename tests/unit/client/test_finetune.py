import dataclasses
import math

import numpy as np
import pytest
import torch

from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.finetune import FineTune, finetune
from worlds import bare_context, linear_model, make_world, play, same_state, tiny_config

WEIGHTS = [[1.0, 0.2], [-0.3, 0.8], [0.5, 0.5]]
RATE, TAU = 0.01, 4.0


def share(*pixels: list[int], labels: list[int], scores: float = 0.5) -> ItemBatch:
    inputs = torch.tensor(pixels, dtype=torch.uint8).reshape(len(labels), 1, 1, 2)
    guide = torch.full((len(labels), 3), scores)
    return ItemBatch(inputs, torch.tensor(labels), None, guide, torch.arange(len(labels)))


def context(**changes: object) -> TrainContext:
    training = {"epochs": 1, "batch": 4, "lr": RATE, "weight_decay": 0.0}
    config = tiny_config(small={"temperature": TAU, "dimension": 3}, training=training)
    made = TrainContext(
        model=linear_model(WEIGHTS),
        shared=bare_context(config, 3, torch.zeros(1, 1, 1, 2), torch.zeros(1, 2)),
        task=share([255, 0], labels=[2]),
        memory=share([0, 255], labels=[0]),
        public=share([255, 255], labels=[-1]),
        seen=torch.arange(3),
        new=torch.tensor([1, 2]),
        old=torch.tensor([0]),
        taught=torch.arange(3),
        generator=torch.Generator().manual_seed(0),
    )
    return dataclasses.replace(made, **changes)


def after(made: TrainContext, classes: str = "seen") -> dict[str, torch.Tensor]:
    finetune(made, FineTune(classes=classes))
    return made.model.state_dict()


@pytest.mark.parametrize(("classes", "columns"), [("seen", [0, 1, 2]), ("task", [1, 2])])
def test_one_step_by_hand(classes: str, columns: list[int]):
    def loss(weights: np.ndarray) -> float:
        e = weights @ np.array([1.0, 0.0])
        logits = TAU * e / np.linalg.norm(e)
        return math.log(np.exp(logits[columns]).sum()) - logits[2]

    weights = np.array(WEIGHTS)
    slope = np.zeros_like(weights)
    for place in np.ndindex(*weights.shape):
        nudge = np.zeros_like(weights)
        nudge[place] = 1e-6
        slope[place] = (loss(weights + nudge) - loss(weights - nudge)) / 2e-6

    found = after(context(), classes)["projector.weight"]

    expected = weights - RATE * slope / (np.abs(slope) + 1e-8)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_memory_public_set_and_large_side_have_no_say():
    alone = after(context())
    nothing = share(labels=[])
    for change in (
        {"memory": nothing},
        {"public": nothing},
        {"memory": share([9, 9], labels=[1]), "public": share([7, 7], labels=[-1])},
        {"task": share([255, 0], labels=[2], scores=-3.0)},
        {"taught": torch.arange(0)},
    ):
        assert same_state(after(context(**change)), alone)


def test_the_classes_of_the_softmax_matter():
    assert not same_state(after(context()), after(context(), "task"))


def test_a_task_of_a_single_item_can_be_learnt():
    scenario = {"classes_per_task": 1, "train_per_class": 1}
    world = make_world(tiny_config(scenario=scenario, learner={"name": "finetune"}))
    for state in play(world).server.states.values():
        assert all(value.isfinite().all() for value in state.values())
