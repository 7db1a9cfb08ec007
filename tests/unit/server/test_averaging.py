from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rounds import gathered, student
from torch.nn import functional as F

from fedbridge.core.errors import UserError
from fedbridge.methods.averaging import average, group_means, mean_state
from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.fedavg import FedAvg
from fedbridge.wire import State, Step
from worlds import (
    World,
    accuracy,
    bare_context,
    linear_model,
    make_world,
    play,
    same_state,
    tiny_config,
)


def state(*weights: float, count: int = 0) -> State:
    return {"weight": torch.tensor(weights), "batches": torch.tensor(count)}


def world_of(name: str, clients: int = 2, **changes: Any) -> World:
    scenario = {"clients": clients, "order": "same"}
    chosen = {"fusion": {"name": name}, "learner": {"name": "finetune"}, "scenario": scenario}
    return make_world(tiny_config(**{**chosen, **changes}))


def test_a_mean_leaves_masks_as_they_are():
    mask = torch.tensor([0.0, -torch.inf])
    states = [{"mask": mask, "on": torch.tensor([True, False])} for _ in range(3)]
    found = mean_state(states, [0, 10, 30])  # nought times infinity is no number
    assert torch.equal(found["mask"], mask)
    assert found["on"].tolist() == [True, False] and found["on"].dtype == torch.bool


def test_the_mean_by_hand():
    found = mean_state([state(1.0, 2.0, count=4), state(5.0, -2.0, count=7)], [30, 10])
    assert found["weight"].tolist() == [2.0, 1.0]
    assert found["weight"].dtype == torch.float32
    assert found["batches"].item() == 5  # 4.75 rounded
    assert found["batches"].dtype == torch.int64


def test_without_any_items_all_models_count_the_same():
    found = mean_state([state(1.0), state(5.0)], [0, 0])
    assert found["weight"].tolist() == [3.0]
    assert mean_state([state(1.0), state(5.0)], [0, 3])["weight"].tolist() == [5.0]


def test_counts_beyond_the_precision_of_float32_are_averaged_exactly():
    count = 2**30 + 1
    assert mean_state([state(0.0, count=count)] * 3, [1, 2, 4])["batches"].item() == count


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6),
    st.lists(st.integers(0, 10**6), min_size=6, max_size=6),
)
def test_a_mean_lies_between_its_parts_and_is_blind_to_order(weights: list[float], n: list[int]):
    states, items = [state(w) for w in weights], n[: len(weights)]
    found = mean_state(states, items)["weight"]
    assert min(weights) - 1e-4 <= found.item() <= max(weights) + 1e-4
    again = mean_state(states[::-1], items[::-1])["weight"]
    torch.testing.assert_close(found, again)


def test_groups_of_equal_architecture_are_averaged_apart():
    students = [
        student("a", state(1.0), num_examples=1),
        student("b", state(9.0), model="cnn", num_examples=5),
        student("c", state(3.0), num_examples=3),
    ]
    means = group_means(students)
    assert {model: mean["weight"].tolist() for model, mean in means.items()} == {
        "mlp": [2.5],
        "cnn": [9.0],
    }


def test_absent_clients_go_on_from_the_average_of_their_architecture():
    students = [student("a", state(1.0)), student("b", state(3.0))]
    models = {"a": "mlp", "b": "mlp", "away": "mlp", "other": "cnn"}
    round_ = gathered(students, models=models)
    fused = average(round_, world_of("fedavg").shared, FedAvg(), lambda function, jobs: [])
    assert list(fused.states) == ["a", "b", "away"]
    assert fused.states["away"]["weight"].tolist() == [2.0]


def test_the_server_sends_everybody_the_weighted_average():
    played = play(world_of("fedavg", clients=3), [Step(1, 1)])
    uploads = played.transport.uploads
    expected = mean_state([u.state for u in uploads], [u.num_examples for u in uploads])
    assert len({u.num_examples for u in uploads}) > 1
    for broadcast in played.broadcasts(1, 2).values():
        assert same_state(broadcast.state, expected)


def test_a_client_that_was_absent_is_sent_the_average_too():
    played = play(world_of("fedavg", clients=3), [])
    sent = played.broadcasts(1, 1)
    sent.pop("client-3")
    for upload in played.transport.exchange(sent):
        played.server.absorb(upload)
    played.server.finish_round(Step(1, 1))
    one, _, absent = played.broadcasts(1, 2).values()
    assert same_state(one.state, absent.state)


def test_all_clients_of_an_architecture_begin_alike_where_weights_are_averaged():
    chosen = {"name": "fedavg", "groups": True}
    world = world_of("fedavg", clients=3, fusion=chosen, small={"models": ["mlp", "cnn"]})
    one, two, three = (b.state for b in play(world, []).broadcasts(1, 1).values())
    assert same_state(one, three) and one.keys() != two.keys()
    for fusion in ("none", "obod", "fedmd", "fedproto", "fedet"):
        assert all(not b.state for b in play(world_of(fusion), []).broadcasts(1, 1).values())


def measured(world: World, common: bool) -> float:
    """Return the accuracy after one round of one task, from a common start or from own ones."""
    played = play(world, [])
    if not common:
        played.server._starts = {}
    for upload in played.transport.exchange(played.server.broadcast(Step(1, 1))):
        played.server.absorb(upload)
    played.server.finish_round(Step(1, 1))
    found = [c.evaluate(played.broadcasts(1, 2)[n]) for n, c in played.clients.items()]
    scores = [accuracy(each, "small", "class-incremental", [1]) for each in found]
    return sum(scores) / len(scores)


def test_averages_of_models_that_began_apart_know_less():
    world = world_of("fedavg", clients=4, training={"lr": 0.003}, scenario={"clients": 4})
    assert measured(world, common=True) > measured(world, common=False) + 0.1


# FedProx


def lesson_near(start: list[list[float]], mu: float) -> TrainContext:
    config = tiny_config(fusion={"name": "fedprox", "proximal": mu})
    shared = bare_context(config, 2, torch.zeros(1, 1), torch.zeros(1, 1))
    nothing = ItemBatch(*(torch.zeros(0) for _ in range(2)), None, torch.zeros(0), torch.zeros(0))
    ids = torch.arange(2)
    model = linear_model([[1.0, 0.5], [0.25, 2.0]])
    shares = {"task": nothing, "memory": nothing, "public": nothing}
    classes = {"seen": ids, "new": ids, "old": ids[:0], "taught": ids}
    began = {**linear_model(start).state_dict()}
    return TrainContext(
        model, shared, **shares, **classes, generator=torch.Generator(), start=began, proximal=mu
    )


def test_the_proximal_gradient_is_that_of_half_the_squared_distance():
    mu, rate, start = 0.3, 0.5, [[0.0, 0.0], [1.0, 1.0]]
    context = lesson_near(start, mu)
    weight = context.model.projector.weight
    before, x = weight.detach().clone(), torch.tensor([[0.2, 0.7]])

    def data_loss(w: torch.Tensor) -> torch.Tensor:
        return F.normalize(x @ w.T, dim=1)[:, 0].sum()

    free = before.clone().requires_grad_()
    (data_loss(free) + mu / 2 * (free - torch.tensor(start)).square().sum()).backward()
    optimiser = torch.optim.SGD(context.model.parameters(), lr=rate)
    context.optimizer_step(optimiser, data_loss(weight))

    assert free.grad is not None
    torch.testing.assert_close(weight.detach(), before - rate * free.grad)


def test_a_strong_proximal_term_keeps_clients_where_they_began():
    moved = []
    for mu in (0.0, 100.0):
        world = world_of("fedprox", fusion={"name": "fedprox", "proximal": mu})
        played = play(world, [])
        start = played.broadcasts(1, 1)["client-1"].state
        upload = next(played.transport.exchange(played.server.broadcast(Step(1, 1))))
        gaps = [(upload.state[k] - v).float().norm() for k, v in start.items() if "weight" in k]
        moved.append(torch.stack(gaps).norm().item())
    assert moved[1] < moved[0]


# what cannot be averaged is an error of the config


@pytest.mark.parametrize("fusion", ["fedavg", "fedprox", "target"])
def test_different_architectures_are_refused_before_work_is_done(fusion: str):
    small = {"models": ["mlp", "cnn"]}
    with pytest.raises(UserError) as error:
        tiny_config(fusion={"name": fusion}, small=small)
    for part in ("small.models", "one architecture", fusion, "fusion.groups=true", "mlp, cnn"):
        assert part in str(error.value)
    tiny_config(fusion={"name": fusion, "groups": True}, small=small)
    tiny_config(fusion={"name": fusion}, small=small, scenario={"clients": 1})
    tiny_config(fusion={"name": fusion}, small={"models": ["mlp", "mlp"]})
    tiny_config(fusion={"name": "feddf"}, small=small)
