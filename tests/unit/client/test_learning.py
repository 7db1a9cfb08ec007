"""A model that diverges is thrown away: the client goes on with the one it had."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fedbridge.client.client import FederatedClient
from fedbridge.core.errors import UserError
from fedbridge.core.losses import cross_entropy
from fedbridge.methods.context import TrainContext
from fedbridge.methods.registry import FUSIONS, LEARNERS
from fedbridge.methods.rounds import FusionResult
from fedbridge.methods.spec import Learner
from fedbridge.models.small.space import as_input
from fedbridge.server import warm
from fedbridge.server.diverging import cold
from fedbridge.server.warm import tried_warm_start
from fedbridge.wire import Step
from worlds import Played, make_world, play, same_state, tiny_config

FIRST = Step(1, 1)


def spoil(context: TrainContext, value: float = torch.nan) -> None:
    with torch.no_grad():
        next(context.model.parameters()).fill_(value)


def loss_is_none(context: TrainContext, options: Any) -> None:
    """Let the loss of the second step be no number."""
    optimiser = context.optimiser()
    for batch in context.batches():
        embedding = context.model(batch.inputs.float() / 255)
        loss = context.classification_loss(embedding, batch.labels, context.seen)
        context.optimizer_step(optimiser, loss * (torch.nan if context.steps.count == 2 else 1.0))


def weights_are_none(context: TrainContext, options: Any) -> None:
    """Let the weights be no numbers after the last step, whose loss was one."""
    for _ in context.batches():
        context.notes["kept"] = torch.tensor(context.steps.count)
    spoil(context)


def answers_are_none(context: TrainContext, options: Any) -> None:
    """Let the weights be numbers whose products are not."""
    for _ in context.batches():
        pass
    with torch.no_grad():
        context.model.projector.weight.fill_(3e38)


WAYS: dict[str, tuple[Callable[[TrainContext, Any], None], int]] = {
    "loss": (loss_is_none, 2),
    "weights": (weights_are_none, 4),
    "answers": (answers_are_none, 4),
}


def client(monkeypatch: pytest.MonkeyPatch, learner: Learner) -> tuple[Played, FederatedClient]:
    monkeypatch.setitem(LEARNERS, "finetune", learner)
    world = make_world(tiny_config(learner={"name": "finetune"}))
    played = play(world, [])
    return played, played.clients["client-1"]


@pytest.mark.parametrize("way", WAYS)
def test_the_model_and_the_notes_are_those_before_and_the_step_is_told(
    way: str, monkeypatch: pytest.MonkeyPatch
):
    learn, step = WAYS[way]
    played, one = client(monkeypatch, replace(LEARNERS["finetune"], learn=learn))
    one.notes["kept"] = torch.tensor(0)
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    upload = one.learn(played.server.broadcast(FIRST)["client-1"])
    assert upload.diverged == step and upload.state == {}
    assert same_state(one.model.state_dict(), before)
    assert one.notes == {"kept": torch.tensor(0)}
    assert len(upload.gram) and upload.num_examples == int(upload.counts.sum()) > 0


def test_the_sums_count_and_the_client_goes_on_in_the_next_round(monkeypatch: pytest.MonkeyPatch):
    broken = [True]

    def once(context: TrainContext, options: Any) -> None:
        if broken and context.client == "client-1":
            broken.pop()
            weights_are_none(context, options)

    played, _ = client(monkeypatch, replace(LEARNERS["finetune"], learn=once))
    server, transport = played.server, played.transport
    for step in (FIRST, Step(1, 2)):
        for upload in transport.exchange(server.broadcast(step)):
            server.absorb(upload)
        noted = list(server.noted)
        server.finish_round(step)
        if step == FIRST:
            (told,) = noted
            assert (told.kind, told.client) == ("diverged", "client-1")
            assert told.about == {"step": 4, "rate": 0.005}
            assert "training.lr = 0.005" in told.reason and "step 4" in told.reason
            assert server.large.sums.counts.sum() == sum(u.num_examples for u in transport.uploads)
        else:
            assert noted == [] and transport.uploads[-2].state


def test_what_a_task_leaves_behind_may_diverge_too(monkeypatch: pytest.MonkeyPatch):
    def close(context: TrainContext, options: Any) -> None:
        context.notes["fisher"] = torch.tensor(torch.inf)

    played, one = client(monkeypatch, replace(LEARNERS["finetune"], end_task=close))
    assert one.learn(played.server.broadcast(FIRST)["client-1"]).diverged == 0
    assert one.learn(played.server.broadcast(Step(1, 2))["client-1"]).diverged == 4
    assert one.notes == {}


def test_others_get_what_they_would_without_it(monkeypatch: pytest.MonkeyPatch):
    """A client that diverges in a round is to the others' models as one that sends no model."""
    learn = LEARNERS["finetune"].learn

    def wild(context: TrainContext, options: Any) -> None:
        learn(context, options)
        if context.client == "client-2":
            spoil(context)

    outcomes = []
    for way in (wild, learn):
        played, _ = client(monkeypatch, replace(LEARNERS["finetune"], learn=way))
        for upload in played.transport.exchange(played.server.broadcast(FIRST)):
            silent = replace(upload, state={}) if upload.client == "client-2" else upload
            played.server.absorb(silent)
        played.server.finish_round(FIRST)
        outcomes.append(played.server.states["client-1"])
    assert same_state(*outcomes)


@pytest.mark.parametrize("head", ["probe", "prototypes", "tail-anchors"])
def test_what_is_trained_of_the_large_side_may_diverge_alone(
    head: str, monkeypatch: pytest.MonkeyPatch
):
    world = make_world(tiny_config(large={"head": head}))
    played = play(world, [FIRST])
    one, step = played.clients["client-1"], Step(1, 2)
    sent = played.server.broadcast(step)["client-1"]
    one.take(sent)
    kept = {name: value.clone() for name, value in one.head.state().items()}
    monkeypatch.setattr(
        one.large, "features_of", lambda rows: torch.full((len(rows), 16), torch.nan)
    )
    monkeypatch.setattr(one.head, "scores", lambda features: torch.zeros(len(features), 8))
    upload = one.learn(sent)
    assert upload.diverged == 1 and upload.adapter == {} and upload.state
    assert same_state(one.head.state(), kept)
    played.server.absorb(upload)
    assert not played.server.refused
    assert "large.probe_lr = 0.005" in played.server.noted[0].reason


def test_where_all_diverge_the_run_ends_in_words(monkeypatch: pytest.MonkeyPatch):
    played, _ = client(monkeypatch, replace(LEARNERS["finetune"], learn=weights_are_none))
    for upload in played.transport.exchange(played.server.broadcast(FIRST)):
        played.server.absorb(upload)
    said = (
        r"training\.lr: the small models of all clients diverged in task 1, round 1 with the "
        r"rate 0\.005: client-1 at step \d+, client-2 at step \d+; choose a lower one"
    )
    with pytest.raises(UserError, match=said):
        played.server.finish_round(FIRST)


def test_where_the_others_are_absent_one_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch):
    played, one = client(monkeypatch, replace(LEARNERS["finetune"], learn=weights_are_none))
    played.server.absorb(one.learn(played.server.broadcast(FIRST)["client-1"]))
    played.server.finish_round(FIRST)
    assert [told.client for told in played.server.noted] == ["client-1"]
    assert played.server.large.sums.counts.sum() > 0  # its sums are taken in


FUSIONS_HERE = ["obod", "fedavg", "fedmd", "feddf", "fedet", "fedproto", "target", "fedweit"]


@pytest.mark.parametrize("fusion", FUSIONS_HERE)
def test_a_fusion_that_makes_a_model_of_no_use_leaves_the_clients_own(
    fusion: str, monkeypatch: pytest.MonkeyPatch
):
    fuse = FUSIONS[fusion].fuse

    def broken(*given: Any) -> FusionResult:
        fused = fuse(*given)
        state = dict(fused.states["client-1"])
        state["projector.weight"] = state["projector.weight"] * torch.nan
        return replace(fused, states=fused.states | {"client-1": state})

    monkeypatch.setitem(FUSIONS, fusion, replace(FUSIONS[fusion], fuse=broken))
    learner = {"name": "fedweit"} if fusion == "fedweit" else {"name": "finetune"}
    small = {"target": {"items": 16, "synthesis": 16, "steps": 2}}.get(fusion, {})
    world = make_world(tiny_config(fusion={"name": fusion, **small}, learner=learner))
    played = play(world, [FIRST])
    (sent, _), kept = played.transport.uploads, played.server.states["client-1"]
    assert same_state(kept, {name: sent.state[name] for name in kept})
    (told,) = played.server.noted
    assert (told.kind, told.client) == ("diverged", "client-1") and "fusion" in told.reason
    played.clients["client-1"].take(played.broadcasts(2)["client-1"])


def test_a_warm_start_that_diverges_is_left_out_and_said(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path))
    world = make_world(tiny_config(small={"warm_epochs": 1, "warm_lr": 1.0}))
    assert tried_warm_start(world.shared, "mlp")[1] == 0
    public = replace(world.shared, public_features=world.shared.public_features * math.nan)
    with monkeypatch.context() as patch:
        patch.setattr(warm, "_principal", lambda features, size: torch.full((16, size), torch.nan))
        assert tried_warm_start(public, "mlp") == ({}, 1)
    told = cold(world.shared.config, "client-1", "mlp", 1)
    assert told.kind == "diverged" and told.about == {"step": 1, "rate": 1.0}
    assert "the warm start of mlp diverged at step 1 with small.warm_lr = 1" in told.reason


def plain(context: TrainContext, options: Any) -> None:
    """Train with a loss of one's own, to which nothing is added."""
    optimiser = context.optimiser()
    for batch in context.batches():
        embedding = context.model(as_input(batch.inputs))
        logits = context.shared.logits(embedding, context.seen)
        loss = cross_entropy(logits, context.label_indices(batch.labels, context.seen))
        context.optimizer_step(optimiser, loss)


def with_term(context: TrainContext, options: Any) -> None:
    assert context.fusion_loss is not None
    labels = context.task.labels[:2]
    context.fusion_loss(context.model(as_input(context.task.inputs[:2])), labels)
    plain(context, options)


def test_a_learner_that_leaves_out_what_the_fusion_adds_is_refused(monkeypatch: pytest.MonkeyPatch):
    for fusion, learn, refused in (
        ("fedproto", plain, True),
        ("fedproto", with_term, False),
        ("fedavg", plain, False),
    ):
        monkeypatch.setitem(LEARNERS, "finetune", replace(LEARNERS["finetune"], learn=learn))
        names = {"learner": {"name": "finetune"}, "fusion": {"name": fusion}}
        if fusion == "fedavg":
            names["fusion"] |= {"groups": True}
        played = play(make_world(tiny_config(**names)), [])
        one, sent = played.clients["client-1"], played.server.broadcast(FIRST)["client-1"]
        if refused:
            words = r"finetune leaves out the term that the fusion fedproto adds to every loss"
            with pytest.raises(UserError, match=words):
                one.learn(sent)
        else:
            assert one.learn(sent).state
