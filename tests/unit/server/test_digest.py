"""Consensus by hand, and what models of different classes learn from each other (FedMD)."""

import pytest
import torch
from rounds import axes, gathered, says

from fedbridge.core.losses import divergence
from fedbridge.methods.digest import (
    UNKNOWN,
    Course,
    batches,
    consensus,
    equal_weight_consensus,
    follow,
    known_to,
)
from fedbridge.methods.fedmd import FedMD, agree
from fedbridge.methods.rounds import PublicPredictions, Student
from fedbridge.models.small.space import embed
from fedbridge.wire import Step
from worlds import World, make_world, same_state, tiny_config

ONE = says("a", 2, c0=[1.0, 4.0], c1=[3.0, 0.0])
OTHER = says("b", 2, c1=[5.0, 2.0], c2=[7.0, 6.0])


def test_a_class_is_averaged_over_the_models_that_know_it():
    found = equal_weight_consensus([ONE, OTHER], axes(2))
    assert found[:, :3].tolist() == [[1.0, 4.0, 7.0], [4.0, 1.0, 6.0]]
    assert (found[:, 3] == UNKNOWN).all()


def test_weights_are_by_item_and_who_has_none_is_not_heard():
    weights = torch.tensor([[3.0, 0.0], [1.0, 2.0]])
    found = consensus([ONE, OTHER], axes(2), weights)
    assert found[:, 1].tolist() == [3.5, 2.0]
    assert found[1, 0] == UNKNOWN and found[0, 0] == 1.0


def test_the_unknown_has_no_probability_and_no_gradient_of_it_is_lost():
    logits = torch.zeros(1, 4, requires_grad=True)
    gap = divergence(equal_weight_consensus([ONE], axes(2))[:1], logits).sum()
    gap.backward()
    assert gap.isfinite() and logits.grad is not None and logits.grad.isfinite().all()
    assert logits.grad[0, 2].item() == pytest.approx(0.25)  # p - 0


def test_known_is_what_anybody_has_seen():
    assert known_to([OTHER, ONE], axes(2)).tolist() == [0, 1, 2]
    assert known_to([], axes(2)).tolist() == []


def test_batches_take_every_item_once_an_epoch_and_never_one_alone():
    taken = list(batches(axes(9), 2, 4, torch.Generator().manual_seed(0)))
    assert [len(rows) for rows in taken] == [4, 4, 4, 4]
    assert len(set(torch.cat(taken[:2]).tolist())) == 8
    assert torch.cat(taken[:2]).tolist() != torch.cat(taken[2:]).tolist()


def school(fusion: str = "fedmd", **options: object) -> World:
    chosen = {"name": fusion, "epochs": 8, "lr": 0.003, "batch": 16, **options}
    return make_world(tiny_config(fusion=chosen, scenario={"order": "same"}))


def received(
    world: World, name: str, classes: tuple[int, ...], embedding: object = None
) -> Student:
    model = world.shared.small_model("mlp", name)
    said = embed(model, world.shared.public_inputs) if embedding is None else embedding
    assert isinstance(said, torch.Tensor)
    return Student(name, "mlp", model.state_dict(), PublicPredictions(name, classes, said), ())


def gap(world: World, state: dict[str, torch.Tensor], course: Course) -> float:
    model = world.shared.small_model("mlp", "any")
    model.load_state_dict(state)
    now = world.shared.logits(embed(model, world.shared.public_inputs), course.classes)
    return float(divergence(course.answers, now).mean())


def test_a_model_follows_the_answers_it_is_given():
    world = school()
    one = received(world, "client-1", (0, 1, 2))
    answers = 4 * torch.randn(len(world.shared.public_inputs), 3)
    course = Course(
        "mlp", one.state, torch.arange(3), answers, seed=1, options=world.shared.config.fusion
    )
    end = follow(world.shared, course)
    assert gap(world, end, course) < 0.7 * gap(world, one.state, course)
    assert same_state(end, follow(world.shared, course))
    assert not same_state(end, one.state)


def test_who_knows_one_class_has_nothing_to_learn():
    world = school()
    one = received(world, "client-1", (2,))
    answers = torch.zeros(len(world.shared.public_inputs), 1)
    course = Course(
        "mlp", one.state, torch.tensor([2]), answers, seed=1, options=world.shared.config.fusion
    )
    assert same_state(follow(world.shared, course), one.state)


def test_models_come_to_agree_on_the_classes_they_share():
    world = school()
    models = [received(world, "client-1", (0, 1, 2)), received(world, "client-2", (1, 2, 3))]
    options = world.shared.config.fusion
    assert isinstance(options, FedMD)
    fused = agree(gathered(models, Step(2, 1)), world.shared, options, world.map_jobs)
    assert list(fused.states) == ["client-1", "client-2"]

    def disagreement(states: list[dict[str, torch.Tensor]]) -> float:
        logits = []
        for state in states:
            model = world.shared.small_model("mlp", "any")
            model.load_state_dict(state)
            said = embed(model, world.shared.public_inputs)
            logits.append(world.shared.logits(said, torch.tensor([1, 2])))
        return float(divergence(*logits).mean())

    before, after = [m.state for m in models], list(fused.states.values())
    assert disagreement(after) < 0.7 * disagreement(before)
