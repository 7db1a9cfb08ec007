from typing import Any

import pytest
import torch
from torch import nn

from fedbridge.core.errors import UserError
from fedbridge.methods.generator import NOISE, Generator, Statistics
from fedbridge.methods.pictures import require_pictures
from fedbridge.methods.target import TARGET, Synthesis
from fedbridge.models.small.space import as_input
from fedbridge.wire import State, Step
from worlds import World, make_world, play, tiny_config

FIRST = Step(1, 2)
OPTIONS = {"name": "target", "items": 30, "synthesis": 12, "steps": 3}


def world_of(**changes: Any) -> World:
    chosen = {"fusion": OPTIONS, "learner": {"name": "target"}, "scenario": {"order": "same"}}
    return make_world(tiny_config(**{**chosen, **changes}))


def options(**changes: Any) -> TARGET:
    return TARGET(**{**OPTIONS, **changes})


@pytest.fixture(scope="module")
def world() -> World:
    return world_of()


@pytest.fixture(scope="module")
def learnt(world: World) -> State:
    """Return the average as the first task ended."""
    return play(world, [Step(1, 1), Step(1, 2)]).server.states["client-1"]


def synthesis(world: World, state: State, step: Step = FIRST) -> Synthesis:
    classes = sorted(world.streams.clients[0].tasks[0].classes)
    return Synthesis(world.shared, {"mlp": state}, torch.tensor(classes), step)


def test_a_generator_makes_pictures_of_the_right_shape_from_its_seed_alone():
    for shape in ((1, 16, 16), (3, 32, 32)):
        torch.manual_seed(1)
        one = Generator.seeded(shape, 7)
        torch.manual_seed(2)
        noise = torch.ones(4, NOISE) * torch.arange(4)[:, None]
        pictures, again = one(noise), Generator.seeded(shape, 7)(noise)
        assert pictures.shape == (4, *shape) and torch.equal(pictures, again)
        assert pictures.min() >= 0 and pictures.max() <= 1


def test_the_gap_of_statistics_by_hand():
    layer = nn.BatchNorm1d(2).eval()
    layer.running_mean, layer.running_var = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    statistics = Statistics([layer])  # type: ignore[list-item]
    assert statistics.taken() == 0
    layer(torch.tensor([[3.0, 2.0], [5.0, 2.0]]))  # means 4 and 2, variances 1 and 0
    assert statistics.taken().item() == pytest.approx(3.0 + 4.0)
    assert statistics.taken() == 0
    assert Statistics([nn.Linear(2, 2)]).taken() == 0  # type: ignore[list-item]


def test_a_layer_without_running_statistics_has_no_gap():
    layer = nn.BatchNorm1d(2, track_running_stats=False)
    statistics = Statistics([layer, nn.BatchNorm1d(2).eval()])  # type: ignore[list-item]
    layer(torch.tensor([[3.0, 2.0], [5.0, 2.0]]))
    assert statistics.taken() == 0


def test_the_gap_of_pictures_is_over_all_places():
    layer = nn.BatchNorm2d(1).eval()
    statistics = Statistics([layer])  # type: ignore[list-item]
    layer(torch.tensor([[[[0.0, 2.0]]], [[[4.0, 6.0]]]]))  # mean 3, variance 5
    assert statistics.taken().item() == pytest.approx(3.0 + 4.0)


def test_pictures_are_of_the_kind_that_models_read(world: World, learnt: State):
    pictures, labels = synthesis(world, learnt).pictures(options())
    assert pictures.shape == (30, *world.shared.input_shape)
    assert pictures.dtype == world.shared.public_inputs.dtype == torch.uint8
    assert labels.shape == (30,)
    assert set(labels.tolist()) == set(world.streams.clients[0].tasks[0].classes)
    assert pictures.float().std(0).mean() > 1  # they are not all the same


@pytest.mark.parametrize(("items", "synthesis_", "made"), [(13, 12, 14), (1, 4, 2), (8, 4, 8)])
def test_no_picture_is_made_alone(
    items: int, synthesis_: int, made: int, world: World, learnt: State
):
    chosen = options(items=items, synthesis=synthesis_, steps=1)
    pictures, labels = synthesis(world, learnt).pictures(chosen)
    assert len(pictures) == len(labels) == made


def test_they_are_a_function_of_the_average_and_the_place(world: World, learnt: State):
    torch.manual_seed(1)
    one, labels = synthesis(world, learnt).pictures(options())
    torch.manual_seed(2)
    again, same = synthesis(world, learnt).pictures(options())
    assert torch.equal(one, again) and torch.equal(labels, same)
    assert not torch.equal(one, synthesis(world, learnt, Step(2, 2)).pictures(options())[0])


def test_the_generators_loss_goes_down_and_its_pictures_are_of_the_wanted_classes(
    world: World, learnt: State
):
    losses, right = [], []
    for steps in (1, 60):
        made = synthesis(world, learnt)
        wanted = torch.arange(2).repeat(20)
        pictures = as_input(made.batch(wanted, options(steps=steps)))
        with torch.no_grad():
            losses.append(made.loss(pictures, wanted, options(differ=0.0)).item())
            teacher = made.shared.logits(made.teachers[0](pictures), made.classes)
        right.append((teacher.argmax(1) == wanted).float().mean().item())
    assert losses[1] < 0.5 * losses[0]
    assert right[1] > 0.95


def test_making_pictures_leaves_the_average_as_it_was(world: World, learnt: State):
    before = {k: v.clone() for k, v in learnt.items()}
    made = synthesis(world, learnt)
    made.pictures(options())
    for found in (learnt, made.teachers[0].state_dict()):
        assert all(torch.equal(found[k], v) for k, v in before.items())


def test_everybody_is_sent_the_pictures_of_the_last_task_that_ended():
    played = play(world_of(scenario={"tasks": 3, "order": "same"}), [])
    sent = []
    for step in [Step(t, r) for t in (1, 2, 3) for r in (1, 2)]:
        for upload in played.transport.exchange(played.server.broadcast(step)):
            played.server.absorb(upload)
        played.server.finish_round(step)
        one, other = (b.shared.get("synthetic") for b in played.broadcasts(1).values())
        assert (one is None and other is None) or torch.equal(one, other)  # type: ignore[arg-type]
        sent.append(one)
    assert sent[0] is None
    first, second = sent[1], sent[3]
    assert first is not None and second is not None and torch.equal(first, sent[2])
    assert not torch.equal(first, second)
    assert torch.equal(second, sent[5])  # after the last task there is no need of new ones


def test_several_architectures_teach_together():
    chosen = {**OPTIONS, "groups": True}
    world = world_of(fusion=chosen, small={"models": ["mlp", "cnn"]})
    played = play(world, [Step(1, 1), Step(1, 2)])
    pictures = played.broadcasts(2)["client-1"].shared["synthetic"]
    assert pictures.shape == (30, 1, 16, 16)


def test_texts_are_refused():
    words = tiny_config(fusion={"name": "target"}, data={"name": "wordnet"})
    for modality in (None, "text"):
        with pytest.raises(UserError, match=r"fusion\.name: 'target' .* found 'wordnet', .*text$"):
            require_pictures(words, modality)
    require_pictures(words, "image")
    require_pictures(tiny_config(fusion={"name": "target"}, data={"name": "hf:a/b"}))
    require_pictures(tiny_config(fusion={"name": "fedavg"}, data={"name": "wordnet"}), "text")


@pytest.mark.parametrize(
    ("part", "wrong", "meant"), [("fusion", "itmes", "items"), ("learner", "wieght", "weight")]
)
def test_a_misspelt_option_is_looked_up_on_its_own_side(part: str, wrong: str, meant: str):
    with pytest.raises(UserError, match=rf"{part}\.{wrong}: unknown key .*'{meant}'"):
        tiny_config(**{part: {"name": "target", wrong: 1}})
