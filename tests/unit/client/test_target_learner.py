import dataclasses
from typing import Any

import torch

from fedbridge.core.losses import divergence
from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.target import TargetLearner, target
from fedbridge.models.small.space import as_input, embed
from fedbridge.wire import State, Step, encode
from worlds import World, make_world, play, tiny_config


def uploads(learner: dict[str, Any]) -> list[bytes]:
    world = make_world(tiny_config(learner=learner, fusion={"name": "none"}))
    return [encode(upload) for upload in play(world).transport.uploads]


def test_without_pictures_it_is_fine_tuning():
    for classes in ("task", "seen"):
        alone = uploads({"name": "target", "classes": classes})
        assert alone == uploads({"name": "finetune", "classes": classes})


def second_task(world: World, former: State, shared: State) -> TrainContext:
    """Return a lesson on the classes of a client's second task, after one on its first."""
    first, new = (torch.tensor(sorted(t.classes)) for t in world.streams.clients[0].tasks[:2])
    rows = world.streams.clients[0].tasks[1].train
    inputs = world.private().inputs_of(rows)
    labels = torch.from_numpy(world.dataset.labels[rows])
    task = ItemBatch(inputs, labels, None, torch.zeros(len(rows), 8), torch.from_numpy(rows))
    model = world.shared.small_model("mlp", "client-1")
    model.load_state_dict(former)
    nothing = task[torch.arange(0)]
    return TrainContext(
        model,
        world.shared,
        task,
        nothing,
        nothing,
        seen=torch.cat([first, new]).sort().values,
        new=new,
        old=first,
        taught=first,
        generator=torch.Generator().manual_seed(0),
        start=former,
        former=former,
        received=shared,
    )


def drift(context: TrainContext, weight: float) -> float:
    """Return how far the model moves from its former answers on the pictures."""
    pictures, labels = context.received["synthetic"], context.received["synthetic_labels"].unique()

    def answers() -> torch.Tensor:
        return context.shared.logits(embed(context.model, pictures), labels)

    before = answers()
    target(context, TargetLearner(weight=weight, batch=16))
    return float(divergence(before, answers()).mean())


def test_pictures_hold_a_model_to_what_it_said_of_them():
    world = make_world(tiny_config(learner={"name": "target"}, fusion={"name": "none"}))
    played = play(world, [Step(1, 1), Step(1, 2)])
    former = {k: v.clone() for k, v in played.clients["client-1"].model.state_dict().items()}
    old = world.streams.clients[0].tasks[0]
    shared = {
        "synthetic": world.private().inputs_of(old.train),
        "synthetic_labels": torch.from_numpy(world.dataset.labels[old.train]),
    }
    free, held = (drift(second_task(world, former, shared), w) for w in (0.0, 5.0))
    assert held < 0.3 * free


def test_in_a_first_task_there_is_nothing_to_hold_to():
    world = make_world(tiny_config(learner={"name": "target"}, fusion={"name": "none"}))
    start = world.shared.small_model("mlp", "client-1").state_dict()
    shared = {
        "synthetic": torch.zeros(4, 1, 16, 16, dtype=torch.uint8),
        "synthetic_labels": torch.tensor([0, 1, 2, 3]),
    }
    context = second_task(world, {k: v.clone() for k, v in start.items()}, shared)
    fresh = dataclasses.replace(context, former={})
    plain = second_task(world, {k: v.clone() for k, v in start.items()}, {})
    for each in (fresh, plain):
        target(each, TargetLearner())
    inputs = as_input(context.task.inputs)
    torch.testing.assert_close(fresh.model(inputs), plain.model(inputs))
