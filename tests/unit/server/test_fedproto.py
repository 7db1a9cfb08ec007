from typing import Any

import pytest
import torch
from rounds import axes, gathered, student

from fedbridge.core.errors import UserError
from fedbridge.methods.fedproto import FedProto, share_prototypes
from fedbridge.methods.rounds import RoundUploads
from fedbridge.models.small.space import embed
from fedbridge.wire import Step
from worlds import World, make_world, play, same_state, tiny_config


def sums(**of_class: list[float]) -> torch.Tensor:
    """Return sums of embeddings and numbers of items ``(3, 3)``, ``c0=[x, y, n]``."""
    table = torch.zeros(3, 3)
    for key, row in of_class.items():
        table[int(key[1:])] = torch.tensor(row)
    return table


def shared(round_: RoundUploads) -> torch.Tensor:
    shared = axes(1, classes=3)  # its P is 3; the tables here have P = 2
    fused = share_prototypes(round_, shared, FedProto(), lambda function, jobs: [])
    assert torch.equal(fused.shared["prototypes"], round_.notes["prototypes"])
    return fused.shared["prototypes"]


def round_of(*tables: torch.Tensor, **changes: Any) -> RoundUploads:
    names = ["a", "b", "c"][: len(tables)]
    every = [student(n, {}, extra={"prototypes": t}) for n, t in zip(names, tables, strict=True)]
    return gathered(every, **changes)


TWO = torch.zeros(3, 2)


def test_prototypes_are_means_over_all_items_of_all_clients():
    a, b = sums(c0=[2, 4, 4], c1=[1, 0, 1]), sums(c0=[6, 0, 4])
    round_ = round_of(a, b, notes={"prototypes": TWO})
    # class 0: (8, 4) over eight items; class 2 was never met
    assert shared(round_).tolist() == [[1.0, 0.5], [1.0, 0.0], [0.0, 0.0]]


def test_classes_that_are_over_keep_their_prototypes():
    before = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.0, 0.0]])
    found = shared(round_of(sums(c1=[2, 2, 4], c2=[3, 0, 3]), notes={"prototypes": before}))
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.2], [0.5, 0.5], [1.0, 0.0]]))


def test_a_round_without_anybody_changes_nothing():
    before = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.0, 0.0]])
    assert torch.equal(shared(round_of(notes={"prototypes": before})), before)


def world_of(**changes: Any) -> World:
    chosen = {"fusion": {"name": "fedproto", "pull": 1.0}, "learner": {"name": "finetune"}}
    return make_world(tiny_config(**{**chosen, "scenario": {"order": "same"}, **changes}))


def test_models_stay_personal_and_prototypes_are_the_mean_of_embeddings():
    world = world_of()
    played = play(world, [Step(1, 1)])
    sent = played.broadcasts(1, 2)
    rows, labels, embedded = [], [], []
    for k, (name, upload) in enumerate(zip(sent, played.transport.uploads, strict=True)):
        assert same_state(sent[name].state, upload.state)
        own = world.streams.clients[k].tasks[0].train
        embedded.append(embed(played.clients[name].model, world.private(k).inputs_of(own)))
        labels.append(torch.from_numpy(world.dataset.labels[own]))
        rows.append(own)
    every, classes = torch.cat(embedded), torch.cat(labels)
    found = sent["client-1"].shared["prototypes"]
    for c in range(8):
        expected = every[classes == c].mean(0) if (classes == c).any() else torch.zeros(32)
        torch.testing.assert_close(found[c], expected, atol=1e-5, rtol=1e-5)


def test_clients_are_drawn_to_the_prototypes():
    gaps = []
    for pull in (0.001, 20.0):
        world = world_of(fusion={"name": "fedproto", "pull": pull})
        played = play(world, [Step(1, 1), Step(1, 2)])
        prototypes = played.broadcasts(2)["client-1"].shared["prototypes"]
        rows = world.streams.clients[0].tasks[0].train
        e = embed(played.clients["client-1"].model, world.private().inputs_of(rows))
        aim = prototypes[torch.from_numpy(world.dataset.labels[rows])]
        gaps.append((e - aim).square().sum(1).mean().item())
    assert gaps[1] < 0.8 * gaps[0]


def test_a_pull_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"fusion\.pull"):
        tiny_config(fusion={"name": "fedproto", "pull": 0.0})
