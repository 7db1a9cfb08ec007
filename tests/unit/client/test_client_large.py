"""What a client trains of the large side by gradient, on features that separate the classes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedbridge.wire import Step, encode
from worlds import Played, World, accuracy, make_world, play, same_state, tiny_config

PROBE = {"head": "probe", "probe_epochs": 10, "probe_lr": 0.05}


def probing(seed: int = 0, scope: str = "federation", **large: object) -> World:
    return make_world(
        tiny_config(
            seed=seed,
            large={**PROBE, "scope": scope, **large},
            learner={"name": "finetune"},
            fusion={"name": "none"},
            scenario={"order": "same"},
        )
    )


def uploads(played: Played) -> list[bytes]:
    return [encode(upload) for upload in played.transport.uploads]


def test_it_finds_classes_that_features_separate():
    played = play(probing(), [Step(1, 1), Step(1, 2)])
    for name, client in played.clients.items():
        found = client.evaluate(played.broadcasts(1, 2)[name])
        assert accuracy(found, "large", "class-incremental", [1]) > 0.95
        assert accuracy(found, "together", "class-incremental", [1]) > 0.95


def test_upload_holds_the_head_and_no_sums():
    for upload in play(probing()).transport.uploads:
        assert set(upload.adapter) == {"head"}
        assert upload.adapter["head"].shape == (16, 8)
        assert not len(upload.gram) and not len(upload.cross) and not len(upload.counts)


def test_only_columns_of_seen_classes_are_trained():
    played = play(probing(), [Step(1, 1)])
    for upload in played.transport.uploads:
        trained = upload.adapter["head"].abs().sum(0) > 0
        assert tuple(torch.nonzero(trained).flatten().tolist()) == upload.seen


def test_every_round_begins_at_the_head_in_force():
    world = probing()
    sent = world.server().broadcast(Step(1, 1))["client-1"]
    start = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    still = world.with_config(
        large={**PROBE, "probe_lr": 1e-12}, learner={"name": "finetune"}
    ).client()
    upload = still.learn(replace(sent, adapter={"head": start}))
    torch.testing.assert_close(upload.adapter["head"], 8.0 * start)


def test_one_step_is_that_of_adam_on_cross_entropy():
    once = probing(probe_epochs=1, probe_lr=0.01)
    config = tiny_config(
        **once.shared.config.model_dump(include={"large", "learner", "fusion", "scenario"}),
        training={"batch": 512},
    )
    world = replace(once, shared=replace(once.shared, config=config))
    upload = world.client().learn(world.server().broadcast(Step(1, 1))["client-1"])
    rows = world.streams.clients[0].tasks[0].train
    z, labels = world.private().features_of(rows), world.dataset.labels[rows]
    seen = list(upload.seen)
    # from zero all seen classes are equally likely, and Adam's first step is the sign's
    targets = (labels[:, None] == np.array(seen)) - 1 / len(seen)
    expected = 0.01 * np.sign(z.T @ targets)
    np.testing.assert_allclose(upload.adapter["head"][:, seen], expected, rtol=1e-3)


def test_the_server_sends_the_mean_of_what_clients_trained():
    played = play(probing(), [Step(1, 1)])
    one, other = played.transport.uploads
    weighted = one.num_examples * one.adapter["head"] + other.num_examples * other.adapter["head"]
    head = played.broadcasts(1, 2)["client-1"].adapter["head"]
    torch.testing.assert_close(8.0 * head, weighted / (one.num_examples + other.num_examples))


def test_on_its_own_a_client_gets_back_what_it_trained():
    played = play(probing(scope="client"), [Step(1, 1)])
    for upload in played.transport.uploads:
        head = played.broadcasts(1, 2)[upload.client].adapter["head"]
        torch.testing.assert_close(8.0 * head, upload.adapter["head"])


def test_it_gives_the_same_result_twice():
    torch.manual_seed(1)
    first = uploads(play(probing()))
    torch.manual_seed(2)
    assert uploads(play(probing())) == first


def test_the_seed_decides_the_order_of_items():
    one = probing()
    sent = one.server().broadcast(Step(1, 1))["client-1"]
    other = one.with_config(seed=1, **one.shared.config.model_dump(include={"large", "learner"}))
    heads = [w.client().learn(sent).adapter for w in (one, other)]
    assert not same_state(*heads)


def test_it_survives_save_and_load(tmp_path: Path):
    played = play(probing(), [Step(1, 1), Step(1, 2), Step(2, 1)])
    played.server.save(tmp_path)
    server = played.world.server()
    server.load(tmp_path)
    sent = server.broadcast(Step(2, 2))
    for k, (name, client) in enumerate(played.clients.items()):
        client.save(tmp_path)
        again = played.world.client(k)
        again.load(tmp_path)
        expected = client.learn(played.server.broadcast(Step(2, 2))[name])
        assert encode(again.learn(sent[name])) == encode(expected)


@pytest.mark.parametrize("fusion", ["none", "obod"])
def test_smcf_is_guided_by_it(fusion: str):
    config = tiny_config(large=PROBE, fusion={"name": fusion}, scenario={"order": "same"})
    played = play(make_world(config))
    for name, client in played.clients.items():
        found = client.evaluate(played.broadcasts(2, 2)[name])
        assert accuracy(found, "small", "class-incremental", [1, 2]) > 0.9
