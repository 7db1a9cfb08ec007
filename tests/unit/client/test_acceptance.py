"""How much of a fused model a client takes: losses by hand, then clients on blocks of light."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from fedbridge.client.acceptance import SHARES, Accepted, ValidationScore, accepted
from fedbridge.client.client import FederatedClient
from fedbridge.models.small.space import embed
from fedbridge.wire import State, Step
from worlds import Played, World, make_world, play, same_state, tiny_config

OWN: State = {"w": torch.tensor([0.0, 4.0]), "count": torch.tensor(3)}
FUSED: State = {"w": torch.tensor([8.0, 0.0]), "count": torch.tensor(7)}


def taken(best: float) -> Accepted:
    """Accept with a loss that is least where the first weight is ``best``, which is counted."""
    return accepted(
        OWN, FUSED, lambda s: ValidationScore(abs(float(s["w"][0]) - best), int(s["w"][0]))
    )


@pytest.mark.parametrize("best", [0.0, 4.0, 8.0])
def test_what_is_infinite_is_taken_as_it_is(best: float):
    mask = torch.tensor([0.0, -torch.inf])
    found = accepted(
        OWN | {"mask": mask},
        FUSED | {"mask": mask},
        lambda s: ValidationScore(abs(float(s["w"][0]) - best), 0),
    )
    assert torch.equal(found.state["mask"], mask)
    assert found.state["w"][0] == best


@pytest.mark.parametrize(
    ("best", "expected"),
    [
        (-5.0, [0.0, 4.0]),  # nothing
        (2.0, [2.0, 3.0]),  # a quarter
        (4.4, [4.0, 2.0]),
        (5.9, [6.0, 1.0]),
        (99.0, [8.0, 0.0]),  # everything
    ],
)
def test_the_best_share_by_hand(best: float, expected: list[float]):
    choice = taken(best)
    found = choice.state
    assert choice.share == expected[0] / 8
    assert choice.own == (abs(best), 0)
    assert choice.taken == (abs(best - expected[0]), expected[0])
    assert found["w"].tolist() == expected
    assert found["count"] == 7 and found["count"].dtype == torch.int64  # counters are not mixed


def test_of_equal_losses_the_own_model_stays():
    assert torch.equal(accepted(OWN, FUSED, lambda _: ValidationScore(1.0, 0)).state["w"], OWN["w"])


def test_every_share_is_tried_once_and_nothing_is_changed():
    before = {k: v.clone() for k, v in (OWN | {}).items()}
    tried: list[float] = []

    def judge(state: State) -> ValidationScore:
        tried.append(float(state["w"][0]) / 8)
        return ValidationScore(0.0, 0)

    accepted(OWN, FUSED, judge)
    assert tried == list(SHARES)
    assert same_state(OWN, before)


# clients


@pytest.fixture(scope="module")
def choosing() -> World:
    """Return a world in which both clients meet the same classes and may choose."""
    return make_world(tiny_config(scenario={"order": "same"}, fusion={"accept": True}))


def balanced_loss(world: World, client: FederatedClient, state: State, task: int) -> float:
    """Return the mean over classes of the mean loss on validation items, item by item."""
    rows = client.private.validation(task)
    labels = torch.from_numpy(world.dataset.labels[rows])
    seen = client.private.seen(task)
    small = world.shared.small_model("mlp", "any")
    small.load_state_dict(state)
    logits = world.shared.logits(embed(small, client.private.inputs_of(rows)), seen)
    columns = torch.searchsorted(seen, labels)
    each = torch.nn.functional.cross_entropy(logits, columns, reduction="none")
    return float(torch.stack([each[labels == c].mean() for c in labels.unique()]).mean())


def right_answers(world: World, client: FederatedClient, state: State, task: int) -> int:
    """Count the validation items whose best class of those seen is their label, one by one."""
    small = world.shared.small_model("mlp", "any")
    small.load_state_dict(state)
    seen = client.private.seen(task)
    return sum(
        int(seen[world.shared.logits(embed(small, client.private.inputs_of(row)), seen).argmax()])
        == int(world.dataset.labels[row][0])
        for row in client.private.validation(task)[:, None]
    )


def between(own: State, fused: State, share: float) -> State:
    return {
        k: (1 - share) * own[k] + share * v if v.is_floating_point() else v
        for k, v in fused.items()
    }


def started_from(client: FederatedClient, sent: Any) -> State:
    """Return the model as a client measures it after it was sent something."""
    client.evaluate(sent)
    return {k: v.clone() for k, v in client.model.state_dict().items()}


def uploaded(played: Played, name: str) -> State:
    return [u.state for u in played.transport.uploads if u.client == name][-1]


@pytest.mark.parametrize("quality", ["better", "worse"])
def test_a_client_takes_the_share_with_the_least_balanced_loss(quality: str, choosing: World):
    played = play(choosing, [Step(1, 1)])
    other = choosing.shared.small_model("mlp", "stranger").state_dict()
    if quality == "better":  # the same start, and trained faster
        other = uploaded(played, "client-1")
        slow = {"training": {"lr": 1e-5}, "fusion": {"accept": True}}
        played = play(choosing.with_config(**slow), [Step(1, 1)])
    client, own = played.clients["client-1"], uploaded(played, "client-1")
    sent = dataclasses.replace(played.broadcasts(1, 2)["client-1"], state=other)

    found = started_from(client, sent)

    ways = {share: between(own, other, share) for share in SHARES}
    losses = {share: balanced_loss(choosing, client, way, 1) for share, way in ways.items()}
    best = min(losses, key=lambda share: losses[share])
    for key, value in found.items():
        torch.testing.assert_close(value, ways[best][key])
    assert best == 0.0 if quality == "worse" else best > 0.0
    told = client.evaluate(sent).accepted
    counts = [right_answers(choosing, client, state, 1) for state in (own, found)]
    assert told == (1, 100 * best, *counts, len(client.private.validation(1)))
    # it is chosen from the upload once more, not from what was chosen before
    assert same_state(started_from(client, sent), found)


def test_validation_items_are_read_to_choose_and_no_test_items(choosing: World):
    read: set[int] = set()
    private = choosing.private()

    def inputs_of(rows: Any) -> Tensor:
        read.update(rows.tolist())
        return private.inputs_of(rows)

    client = choosing.client(private=dataclasses.replace(private, inputs_of=inputs_of))
    played = play(choosing, [Step(1, 1)])
    client.learn(choosing.server().broadcast(Step(1, 1))["client-1"])
    task = choosing.streams.clients[0].tasks[0]
    assert read == set(task.train)
    client.learn(played.broadcasts(1, 2)["client-1"])
    assert read == set(task.train) | set(task.validation)


def test_without_validation_items_the_fused_model_is_taken_as_it_is(choosing: World):
    private = choosing.private()
    tasks = tuple(
        dataclasses.replace(task, validation=task.validation[:0]) for task in private.stream.tasks
    )
    bare = dataclasses.replace(private, stream=dataclasses.replace(private.stream, tasks=tasks))
    client, played = choosing.client(private=bare), play(choosing, [Step(1, 1)])
    client.learn(choosing.server().broadcast(Step(1, 1))["client-1"])
    other = choosing.shared.small_model("mlp", "stranger").state_dict()
    sent = dataclasses.replace(played.broadcasts(1, 2)["client-1"], state=other)
    assert same_state(started_from(client, sent), other)


def test_a_client_that_uploaded_nothing_yet_takes_what_it_is_sent(choosing: World):
    other = choosing.shared.small_model("mlp", "stranger").state_dict()
    sent = choosing.server().broadcast(Step(1, 1))["client-1"]
    client = choosing.client()
    assert same_state(started_from(client, dataclasses.replace(sent, state=other)), other)


@pytest.mark.parametrize("fusion", [{"accept": False}, {"name": "fedavg"}, {"name": "none"}])
def test_where_nobody_chooses_the_fused_model_is_taken_as_it_is(fusion: dict[str, Any]):
    world = make_world(tiny_config(scenario={"order": "same"}, fusion=fusion))
    played = play(world, [Step(1, 1)])
    other = world.shared.small_model("mlp", "stranger").state_dict()
    sent = dataclasses.replace(played.broadcasts(1, 2)["client-1"], state=other)
    assert same_state(started_from(played.clients["client-1"], sent), other)
    assert played.clients["client-1"].evaluate(sent).accepted == ()


def test_a_model_that_was_not_fused_stays_exactly_as_it_was(choosing: World):
    played = play(choosing, [Step(1, 1)])
    own = uploaded(played, "client-1")
    sent = dataclasses.replace(played.broadcasts(1, 2)["client-1"], state=own)
    assert same_state(started_from(played.clients["client-1"], sent), own)
