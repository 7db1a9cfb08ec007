import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from paper import NEW, OLD, OTHER, WEIGHTS, context, entropy, slope, stepped

from fedbridge.methods.context import TrainContext
from fedbridge.methods.ewc import EWC, consolidate, ewc, fisher, penalty
from fedbridge.methods.finetune import FineTune, finetune
from fedbridge.models.small.space import embed
from fedbridge.wire import Step, encode
from worlds import make_world, play, same_state, tiny_config

WEIGHT, BIAS = "projector.weight", "projector.bias"
ALL = torch.arange(3)


def options(**changes: Any) -> EWC:
    explicit = {"weight": 6.0, "decay": 0.5, "normalise": False, "fisher_items": 10}
    return EWC(**{**explicit, "classes": "seen", **changes})


def held(made: TrainContext, importance: np.ndarray, centre: np.ndarray) -> TrainContext:
    """Return the lesson with importances and a former model; the bias is of no importance."""
    former = {WEIGHT: torch.tensor(centre).float(), BIAS: torch.zeros(3)}
    notes = {
        f"fisher/{WEIGHT}": torch.tensor(importance).float(),
        f"fisher/{BIAS}": torch.zeros(3),
    }
    return dataclasses.replace(made, former=former, notes=notes)


def test_the_fisher_of_a_linear_model_by_hand():
    made = context(task=NEW + OLD + OTHER)
    weights = np.array(WEIGHTS)
    slopes = [slope(lambda w, one=one: entropy(w, one), weights) for one in (NEW, OLD, OTHER)]

    found = fisher(made, torch.arange(3), ALL)[WEIGHT]

    np.testing.assert_allclose(found, np.mean(np.square(slopes), axis=0), rtol=1e-4, atol=1e-6)
    of_the_mean = np.square(np.mean(slopes, axis=0))  # what a whole batch would give
    assert np.abs(found.numpy() - of_the_mean).max() > 0.1


def test_the_fisher_is_over_the_classes_of_the_softmax():
    made, weights, both = context(task=NEW), np.array(WEIGHTS), torch.tensor([0, 2])
    expected = np.square(slope(lambda w: entropy(w, NEW, (0, 2)), weights))
    np.testing.assert_allclose(
        fisher(made, torch.arange(1), both)[WEIGHT], expected, rtol=1e-4, atol=1e-6
    )


def test_the_penalty_by_hand():
    importance = np.array([[1.0, 2.0], [0.5, 0.0], [3.0, 1.0]])
    centre = np.array([[0.9, 0.0], [0.0, 1.0], [0.5, 0.7]])
    made = held(context(), importance, centre)
    expected = (importance * (np.array(WEIGHTS) - centre) ** 2).sum()
    assert penalty(made).item() == pytest.approx(expected, rel=1e-6)


def test_one_step_by_hand():
    importance = np.array([[1.0, 2.0], [0.5, 0.1], [3.0, 1.0]])
    centre = np.array([[0.9, 0.0], [0.0, 1.0], [0.6, 0.7]])
    made = held(context(), importance, centre)

    ewc(made, options())

    def loss(weights: np.ndarray) -> float:
        return entropy(weights, NEW) + 3.0 * (importance * (weights - centre) ** 2).sum()

    expected = stepped(loss, np.array(WEIGHTS))
    np.testing.assert_allclose(made.model.projector.weight.detach(), expected, atol=1e-5)


def test_what_is_important_stays_and_what_is_not_may_go():
    importance = np.array([[1e6, 0.0], [1e6, 0.0], [1e6, 0.0]])
    made = held(context(epochs=40, decay=0.0, task=NEW + OTHER), importance, np.array(WEIGHTS))

    ewc(made, options())

    moved = (made.model.projector.weight.detach() - torch.tensor(WEIGHTS)).abs()
    assert moved[:, 0].max() < 0.02 < moved[:, 1].max()


def test_importances_decay_and_add_up():
    one, two = context(task=NEW), context(task=OLD + OTHER)
    first, second = fisher(one, torch.arange(1), ALL), fisher(two, torch.arange(2), ALL)

    consolidate(one, options())
    assert torch.equal(one.notes[f"fisher/{WEIGHT}"], first[WEIGHT])
    consolidate(dataclasses.replace(two, notes=one.notes), options(decay=0.5))

    expected = 0.5 * first[WEIGHT] + second[WEIGHT]
    torch.testing.assert_close(one.notes[f"fisher/{WEIGHT}"], expected)


def test_a_task_that_is_known_for_certain_is_held_as_firmly_as_others():
    world = context(task=NEW).shared.config
    means = []
    for temperature in (4.0, 20.0):
        config = world.model_copy(
            update={"small": world.small.model_copy(update={"temperature": temperature})}
        )
        made = context(task=OLD)  # at 20 nearly all probability is on the label
        made = dataclasses.replace(made, shared=dataclasses.replace(made.shared, config=config))
        consolidate(made, options(normalise=True))
        parts = [note.flatten() for note in made.notes.values()]
        means.append(float(torch.cat(parts).mean()))
    assert means == pytest.approx([1.0, 1.0])


def test_no_gradient_at_all_is_no_importance():
    made = context(task=NEW, seen=torch.tensor([2]))  # a single class cannot be missed
    consolidate(made, options(normalise=True))
    assert all(not note.any() for note in made.notes.values())


def test_what_is_not_trained_has_no_importance_and_no_penalty():
    made = context(task=NEW + OLD)
    made.model.projector.bias.requires_grad_(False)
    found = fisher(made, torch.arange(2), ALL)
    assert found.keys() == {WEIGHT} and found[WEIGHT].any()
    noted = dataclasses.replace(made, notes={f"fisher/{WEIGHT}": found[WEIGHT]}, former=made.start)
    noted.former.update({WEIGHT: made.model.projector.weight.detach() + 1.0})
    assert float(penalty(noted)) == pytest.approx(float(found[WEIGHT].sum()))


def test_no_more_items_are_read_than_asked_for():
    made = context(task=NEW + OLD + OTHER)
    alone = [fisher(made, torch.tensor([k]), ALL)[WEIGHT] for k in range(3)]
    consolidate(made, options(fisher_items=1))
    found = made.notes[f"fisher/{WEIGHT}"]
    assert sum(torch.equal(found, each) for each in alone) == 1


def test_the_fisher_leaves_the_model_and_its_statistics_as_they_were():
    world = make_world(tiny_config(small={"models": ["cnn"]}))
    model = world.client().model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    inputs = world.private().inputs_of(world.items("train")[:5])
    made = context(model=model, shared=world.shared)
    share = NEW[torch.zeros(5, dtype=torch.int64)]
    made = dataclasses.replace(made, task=dataclasses.replace(share, inputs=inputs))

    found = fisher(made, torch.arange(5), ALL)

    assert same_state(model.state_dict(), before)
    assert model.training and all(weight.grad is None for weight in model.parameters())
    assert found.keys() == dict(model.named_parameters()).keys()
    assert all(bool((f >= 0).all() and f.isfinite().all()) for f in found.values())
    assert sum(f.sum() for f in found.values()) > 0


def test_with_a_weight_of_zero_it_is_fine_tuning():
    def uploads(learner: dict[str, Any]) -> list[bytes]:
        world = make_world(tiny_config(learner=learner, fusion={"name": "none"}))
        return [encode(upload) for upload in play(world).transport.uploads]

    for classes in ("seen", "task"):
        plain = uploads({"name": "finetune", "classes": classes})
        assert uploads({"name": "ewc", "weight": 0.0, "classes": classes}) == plain
        assert uploads({"name": "ewc", "weight": 9.0, "classes": classes}) != plain


def test_the_first_task_is_fine_tuning():
    one, other = context(), context()
    ewc(one, options())
    finetune(other, FineTune())
    assert same_state(one.model.state_dict(), other.model.state_dict())


def test_it_is_held_to_the_model_after_fusion():
    config = tiny_config(learner={"name": "ewc"}, fusion={"name": "fedavg"})
    played = play(make_world(config), [Step(1, 1), Step(1, 2)])
    client = played.clients["client-1"]
    uploaded = played.transport.uploads[-2]
    assert uploaded.client == "client-1"
    fused = played.server.states["client-1"]

    client.learn(played.broadcasts(2)["client-1"])

    assert same_state(client.previous, fused)
    assert not same_state(client.previous, uploaded.state)


def test_stiff_weights_keep_what_the_model_says_of_an_old_task():
    def drift(weight: float) -> float:
        learner = {"name": "ewc", "weight": weight, "classes": "task"}
        world = make_world(tiny_config(learner=learner, fusion={"name": "none"}))
        played = play(world, [Step(1, 1), Step(1, 2)])
        client = played.clients["client-1"]
        inputs = world.private().inputs_of(world.streams.clients[0].tasks[0].test)
        before = embed(client.model, inputs)
        client.learn(played.broadcasts(2)["client-1"])
        return float((embed(client.model, inputs) - before).norm())

    # statistics of normalisation layers are left free, so that there is some drift
    assert drift(300.0) < 0.85 * drift(0.0)
