"""Prototypes that a client trains on the FM's features, and matrices that belong to tasks."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fedbridge.core.errors import UserError
from fedbridge.methods.pilora import Prototypes, overlap, ranks_of
from fedbridge.wire import Step
from worlds import Played, World, accuracy, bare_context, make_world, play, tiny_config

LARGE = {"head": "prototypes", "compact": 0.5, "orthogonal": 2.0, "probe_epochs": 1}
AXES = torch.eye(2, 3)  # prototypes of classes 0 and 1; class 2 has none yet
DOWN, UP = "q.lora_A.default.weight", "q.lora_B.default.weight"


def study(head: Tensor = AXES, task: int = 2, seen: tuple[int, ...] = (0, 1), **large: Any):
    config = tiny_config(large={**LARGE, **large}, learner={"name": "finetune"})
    shared = bare_context(config, 3, torch.zeros(1, 1, 16, 16), torch.eye(2))
    return Prototypes(shared, config.large, head, torch.tensor(seen), Step(task, 1))


def part() -> dict[str, nn.Parameter]:
    """Return matrices of rank 2: the first row, or column, is the first task's."""
    down = torch.tensor([[1.0, 0.0, 2.0], [3.0, 1.0, -1.0]])
    return {DOWN: nn.Parameter(down), UP: nn.Parameter(torch.ones(4, 2))}


def test_the_loss_by_hand():
    # a feature of length 5: its squared distances to the axes are 2 - 2 * 0.6 and 2 - 2 * 0.8
    near, far = 0.4, 0.8
    expected = math.log(1 + math.exp(-8.0 * (far - near))) + 0.5 * near
    found = study().loss(torch.tensor([[3.0, 4.0]]), torch.tensor([1]), {})
    torch.testing.assert_close(found, torch.tensor(expected))
    more = study().loss(torch.tensor([[3.0, 4.0]]), torch.tensor([1]), part())
    torch.testing.assert_close(more - found, torch.tensor(2.0))  # twice |3 - 2|


def test_the_first_task_has_nothing_to_keep_apart_from():
    assert overlap(part(), 1, 2).item() == 0.0
    assert overlap(part(), 2, 2).item() == 1.0


@given(st.integers(1, 12), st.integers(0, 30))
def test_tasks_share_all_ranks_and_none_twice(tasks: int, more: int):
    size = tasks + more
    given_ = [rank for task in range(1, tasks + 1) for rank in range(*ranks_of(task, tasks, size))]
    assert given_ == list(range(size))
    assert all(ranks_of(t, tasks, size)[0] < ranks_of(t, tasks, size)[1] for t in range(1, tasks))


def test_only_the_tasks_own_prototypes_and_ranks_have_slopes():
    made, matrices = study(seen=(0, 1, 2)), part()
    labels = torch.tensor([1, 1])
    loss = made.loss(torch.tensor([[3.0, 4.0], [1.0, 2.0]]), labels, matrices)
    (loss + sum(matrix.sum() for matrix in matrices.values())).backward()
    made.hold(labels, matrices)
    assert (made.weights.grad.abs().sum(0) > 0).tolist() == [False, True, False]
    assert (matrices[DOWN].grad.abs().sum(1) > 0).tolist() == [False, True]
    assert (matrices[UP].grad.abs().sum(0) > 0).tolist() == [False, True]


def test_a_new_class_starts_in_a_direction_that_everybody_knows():
    one, other = (study(seen=seen).weights for seen in ((0, 1, 2), (2,)))
    assert torch.equal(one[:, 2], other[:, 2])
    torch.testing.assert_close(one.norm(dim=0), torch.ones(3))
    assert torch.equal(one[:, :2], AXES[:, :2]) and not study().weights[:, 2].any()


@pytest.mark.parametrize(("least", "there"), [(1, [1, 1, 0]), (2, [1, 0, 0]), (3, [0, 0, 0])])
def test_means_are_of_features_of_length_one_and_of_enough_items(least: int, there: list[int]):
    made = study(min_class_items=least, probe_epochs=2)
    for _ in range(2):
        made.loss(torch.tensor([[3.0, 4.0], [5.0, 0.0]]), torch.tensor([0, 0]), {})
        made.loss(torch.tensor([[0.0, 2.0]]), torch.tensor([1]), {})
    means = torch.tensor([[0.8, 0.0, 0.0], [0.4, 1.0, 0.0]])
    found = made.trained(lambda: torch.zeros(0, 2), torch.tensor([0, 0, 1]))["means"]
    torch.testing.assert_close(found, means * torch.tensor(there))


def learning(**changes: Any) -> World:
    chosen = {"large": {**LARGE, "probe_epochs": 10, "probe_lr": 0.05}}
    names = {"learner": {"name": "finetune"}, "fusion": {"name": "none"}}
    return make_world(tiny_config(**{**chosen, **names, "scenario": {"order": "same"}, **changes}))


def measured(played: Played, tasks: list[int]) -> float:
    client = played.clients["client-1"]
    found = client.evaluate(played.broadcasts(tasks[-1], 2)["client-1"])
    return accuracy(found, "large", "class-incremental", tasks)


def test_it_finds_classes_that_features_separate_and_keeps_them():
    played = play(learning())
    assert measured(played, [1, 2]) > 0.95


def test_prototypes_of_earlier_tasks_stay():
    played = play(learning(), [Step(1, 1), Step(1, 2)])
    before = played.broadcasts(2, 1)["client-1"].adapter["head"]
    old = played.world.streams.clients[0].seen(1)
    for upload in played.transport.exchange(played.server.broadcast(Step(2, 1))):
        played.server.absorb(upload)
        torch.testing.assert_close(upload.adapter["head"][:, old], before[:, old])
        assert (upload.adapter["means"].abs().sum(0) > 0).sum() == 2  # of the task's classes only
    played.server.finish_round(Step(2, 1))
    after = played.broadcasts(2, 2)["client-1"].adapter["head"]
    torch.testing.assert_close(after[:, old], before[:, old])
    lengths = after.norm(dim=0)
    np.testing.assert_allclose(lengths[lengths > 0], 1.0, rtol=1e-5)


def test_what_does_not_go_with_prototypes_is_refused():
    with pytest.raises(UserError, match=r"large.tuning: .*'none' or 'lora', found 'prompt'"):
        tiny_config(large={"head": "prototypes", "tuning": "prompt"})
    with pytest.raises(UserError, match=r"large\.tuning_size: must be at least 1 for each of 2"):
        tiny_config(large={"head": "prototypes", "tuning": "lora", "tuning_size": 1})
