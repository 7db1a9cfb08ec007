"""What every way to learn must keep to; a new entry of LEARNERS is tested on arrival."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedbridge.data.dataset import Dataset
from fedbridge.methods.registry import LEARNERS
from fedbridge.models.small.space import embed
from fedbridge.runs.contracts import check_learner
from fedbridge.wire import Step, encode
from worlds import (
    Played,
    World,
    accuracy,
    blocks,
    make_world,
    of_pictures,
    play,
    same_state,
    tiny_config,
)

EXTREMES: dict[str, Callable[[], Dataset]] = {
    "all black": lambda: of_pictures(np.zeros_like(blocks().inputs), blocks().labels),
    "all white": lambda: of_pictures(np.full_like(blocks().inputs, 255), blocks().labels),
    "ordinary": blocks,
}
SCENARIOS = {
    "one item per class": {"train_per_class": 1},
    "single client": {"clients": 1},
    "one class per task": {"classes_per_task": 1},
    "one class and one item": {"classes_per_task": 1, "train_per_class": 1},
    "one public item per class": {"public_per_class": 1},
    "one item of several classes": {"train_per_class": 1, "tasks": 3, "order": "same"},
    "all data so far": {"history": "own"},
}
FUSIONS = ("fedavg", "fedprox", "fedproto", "obod")


@pytest.fixture(params=sorted(LEARNERS))
def learner(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def alone(learner: str, seed: int = 0) -> World:
    """Return two clients that learn and are never fused."""
    names = {"learner": {"name": learner}, "fusion": {"name": "none"}}
    return make_world(tiny_config(seed=seed, **names))


def uploads(played: Played) -> list[bytes]:
    return [encode(upload) for upload in played.transport.uploads]


def finite(played: Played) -> bool:
    parts = [part for upload in played.transport.uploads for part in vars(upload).values()]
    states = [part.values() for part in parts if isinstance(part, dict)]
    arrays = [array for state in states for array in state]
    arrays += [part for part in parts if isinstance(part, torch.Tensor)]
    return all(bool(array.isfinite().all()) for array in arrays)


def test_every_entry_can_be_configured():
    for name, spec in LEARNERS.items():
        assert spec.options().name == name
        assert tiny_config(learner={"name": name}).learner.name == name


def test_it_solves_a_trivial_task(learner: str):
    played = play(alone(learner), [Step(1, 1), Step(1, 2)])
    for name, client in played.clients.items():
        found = client.evaluate(played.broadcasts(1, 2)[name])
        assert accuracy(found, "small", "class-incremental", [1]) > 0.95


def test_it_gives_the_same_result_twice(learner: str):
    torch.manual_seed(1)
    first = uploads(play(alone(learner)))
    torch.manual_seed(2)
    np.random.seed(2)
    assert uploads(play(alone(learner))) == first


def test_another_seed_gives_another_result(learner: str):
    world = alone(learner)
    start = world.shared.small_model("mlp", "start").state_dict()
    sent = replace(world.server().broadcast(Step(1, 1))["client-1"], state=start)
    other = world.with_config(seed=1, learner={"name": learner})
    # the same start and the same data, so that only the learner's own draws differ
    states = [each.client().learn(sent).state for each in (world, other)]
    assert not same_state(*states)


def test_it_survives_save_and_load(learner: str, tmp_path: Path):
    played = play(alone(learner), [Step(1, 1), Step(1, 2), Step(2, 1)])
    sent = played.broadcasts(2, 2)
    for k, (name, client) in enumerate(played.clients.items()):
        client.save(tmp_path)
        again = played.world.client(k)
        again.load(tmp_path)
        assert encode(again.learn(sent[name])) == encode(client.learn(sent[name]))


@pytest.mark.parametrize("pictures", EXTREMES)
def test_it_stays_finite_on_extreme_pictures(learner: str, pictures: str):
    config = tiny_config(learner={"name": learner}, fusion={"name": "none"})
    assert finite(play(make_world(config, EXTREMES[pictures]())))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_stays_finite_in_extreme_scenarios(learner: str, scenario: str):
    config = tiny_config(
        learner={"name": learner}, fusion={"name": "none"}, scenario=SCENARIOS[scenario]
    )
    assert finite(play(make_world(config)))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_it_may_be_fused(learner: str, fusion: str):
    config = tiny_config(learner={"name": learner}, fusion={"name": fusion})
    played = play(make_world(config))
    assert finite(played)
    for name, client in played.clients.items():
        found = client.evaluate(played.broadcasts(2, 2)[name])
        assert accuracy(found, "small", "task-aware", [1, 2]) > 0.6


def test_it_is_held_to_where_its_round_began_by_a_proximal_fusion(learner: str):
    def moved(proximal: float) -> float:
        fusion = {"name": "fedprox", "proximal": proximal}
        world = make_world(tiny_config(learner={"name": learner}, fusion=fusion))
        client, sent = world.client(), world.server().broadcast(Step(1, 1))["client-1"]
        client.learn(sent)
        return float(
            (client.model.projector.weight.detach() - sent.state["projector.weight"]).norm()
        )

    assert moved(100.0) < 0.9 * moved(0.0)


def test_it_is_pulled_to_the_prototypes_of_a_fusion_that_has_them(learner: str):
    def gap(pull: float) -> float:
        fusion = {"name": "fedproto", "pull": pull}
        world = make_world(tiny_config(learner={"name": learner}, fusion=fusion))
        client, sent = world.client(), world.server().broadcast(Step(1, 1))["client-1"]
        aim = -world.shared.anchors  # as far from what cross entropy wants as can be
        client.learn(replace(sent, shared={"prototypes": aim}))
        rows = world.streams.clients[0].tasks[0].train
        reached = embed(client.model, world.private().inputs_of(rows))
        return float((reached - aim[world.dataset.labels[rows]]).norm())

    assert gap(50.0) < 0.9 * gap(1e-6)


def test_it_trains_the_model_in_place_and_leaves_its_inputs_alone(learner: str):
    world = alone(learner)
    before = world.shared.public_inputs.clone()
    client = world.client()
    model, start = client.model, client.model.projector.weight.detach().clone()
    client.learn(world.server().broadcast(Step(1, 1))["client-1"])
    assert client.model is model
    assert not torch.equal(model.projector.weight, start)
    assert torch.equal(world.shared.public_inputs, before)
    assert not model.training  # ready to be measured


def test_it_moves_no_global_generator(learner: str):
    client, sent = alone(learner).client(), alone(learner).server().broadcast(Step(1, 1))
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(2), np.random.rand(2)
    torch.manual_seed(5)
    np.random.seed(5)
    client.learn(sent["client-1"])
    assert torch.equal(torch.rand(2), expected[0])
    assert (np.random.rand(2) == expected[1]).all()


def test_it_keeps_to_what_anybodys_learner_must(learner: str):
    check_learner(learner)
