"""What every way to fuse must keep to; a new entry of FUSIONS is tested on arrival."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fedbridge.methods.registry import FUSIONS
from fedbridge.runs.contracts import check_fusion
from fedbridge.server.server import Server
from fedbridge.wire import Step, Upload, encode
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

SHARED = {"order": "same"}  # all clients meet the same classes
SCENARIOS = {
    "one item per class": {"train_per_class": 1},
    "single client": {"clients": 1},
    "one class per task": {"classes_per_task": 1, **SHARED},
    "one public item per class": {"public_per_class": 1, **SHARED},
    "no common classes": {"private_classes": 4},
    "three clients": {"clients": 3, **SHARED},
}


TINY: dict[str, dict[str, Any]] = {"target": {"items": 16, "synthesis": 16, "steps": 2}}
"""Options without which a fusion would take its time."""


@pytest.fixture(params=sorted(FUSIONS))
def fusion(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def options(fusion: str) -> dict[str, Any]:
    return {"name": fusion, **TINY.get(fusion, {})}


def fused_world(name: str, seed: int = 0, **changes: Any) -> World:
    chosen = {"fusion": options(name), "scenario": SHARED, **changes}
    return make_world(tiny_config(seed=seed, **chosen))


def of_two_kinds(fusion: str) -> World:
    """Return a world of two architectures, which some may average within groups only."""
    groups = {"groups": True} if "groups" in FUSIONS[fusion].options.model_fields else {}
    chosen = {**options(fusion), **groups}
    return fused_world(fusion, fusion=chosen, small={"models": ["mlp", "cnn"]})


def finite(played: Played) -> bool:
    sent = played.server.broadcast(Step(9, 1)).values()
    arrays = [a for b in sent for state in (b.state, b.adapter, b.shared) for a in state.values()]
    return all(bool(array.isfinite().all()) for array in arrays)


def round_one(fusion: str) -> list[Upload]:
    return play(fused_world(fusion), [Step(1, 1)]).transport.uploads


def absorbed(fusion: str, uploads: list[Upload]) -> Server:
    server = fused_world(fusion).server()
    server.broadcast(Step(1, 1))
    for upload in uploads:
        server.absorb(upload)
    server.finish_round(Step(1, 1))
    assert not server.refused
    return server


def test_every_entry_can_be_configured():
    for name, spec in FUSIONS.items():
        assert spec.options().name == name
        assert tiny_config(fusion={"name": name}).fusion.name == name


def test_clients_that_are_fused_solve_a_trivial_problem(fusion: str):
    played = play(fused_world(fusion))
    for name, client in played.clients.items():
        found = client.evaluate(played.broadcasts(2, 2)[name])
        for predictor in ("small", "large", "together"):
            assert accuracy(found, predictor, "class-incremental", [1, 2]) > 0.9


def test_it_gives_the_same_result_twice(fusion: str):
    uploads = round_one(fusion)
    torch.manual_seed(1)
    first = absorbed(fusion, uploads)
    torch.manual_seed(2)
    again = absorbed(fusion, uploads)
    for name, state in first.states.items():
        assert same_state(state, again.states[name])
    assert first.taught == again.taught


def test_another_seed_gives_another_result(fusion: str):
    one, other = (play(fused_world(fusion, seed), [Step(1, 1)]).server for seed in (0, 1))
    assert not any(same_state(one.states[name], other.states[name]) for name in one.states)


def test_it_survives_save_and_load(fusion: str, tmp_path: Path):
    played = play(fused_world(fusion), [Step(1, 1), Step(1, 2), Step(2, 1)])
    played.server.save(tmp_path)
    again = played.world.server()
    again.load(tmp_path)
    again.broadcast(Step(2, 2))
    for upload in played.transport.exchange(played.server.broadcast(Step(2, 2))):
        played.server.absorb(upload)
        again.absorb(upload)
    for server in (played.server, again):
        server.finish_round(Step(2, 2))
    sent, expected = (s.broadcast(Step(9, 1)) for s in (again, played.server))
    assert {k: encode(v) for k, v in sent.items()} == {k: encode(v) for k, v in expected.items()}


def test_the_order_of_uploads_does_not_matter(fusion: str):
    uploads = round_one(fusion)
    one, other = absorbed(fusion, uploads), absorbed(fusion, uploads[::-1])
    for name, state in one.states.items():
        for key, value in state.items():
            torch.testing.assert_close(value, other.states[name][key])


def test_every_client_gets_a_whole_model_of_its_own_architecture(fusion: str):
    played = play(of_two_kinds(fusion), [Step(1, 1), Step(1, 2)])
    for upload in played.transport.uploads[-2:]:
        state = played.server.states[upload.client]
        assert state.keys() == upload.state.keys()
        for key, value in state.items():
            assert value.shape == upload.state[key].shape
            assert value.dtype == upload.state[key].dtype
            assert value.device.type == "cpu" and not value.requires_grad


def test_uploads_are_left_as_they_were(fusion: str):
    uploads = round_one(fusion)
    before = [encode(upload) for upload in uploads]
    absorbed(fusion, uploads)
    assert [encode(upload) for upload in uploads] == before


@pytest.mark.parametrize("shade", [0, 255])
def test_it_stays_finite_on_pictures_without_content(fusion: str, shade: int):
    pictures = torch.full(blocks().inputs.shape, shade, dtype=torch.uint8).numpy()
    large = {"student_weight": 0.5}
    config = tiny_config(fusion=options(fusion), scenario=SHARED, large=large)
    assert finite(play(make_world(config, of_pictures(pictures, blocks().labels))))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_it_stays_finite_in_extreme_scenarios(fusion: str, scenario: str):
    large = {"student_weight": 0.5}
    assert finite(play(fused_world(fusion, scenario=SCENARIOS[scenario], large=large)))


@pytest.mark.parametrize("present", [1, 0])
def test_clients_may_be_absent(fusion: str, present: int):
    played = play(fused_world(fusion), [Step(1, 1)])
    for step in (Step(1, 2), Step(2, 1)):
        sent = dict(list(played.server.broadcast(step).items())[:present])
        for upload in played.transport.exchange(sent):
            played.server.absorb(upload)
        played.server.finish_round(step)
    assert finite(played)
    for name, client in played.clients.items():
        assert same_state_kinds(played.server.states[name], client.model.state_dict())


def same_state_kinds(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return {k: (v.shape, v.dtype) for k, v in one.items()} == {
        k: (v.shape, v.dtype) for k, v in other.items()
    }


def test_it_keeps_to_what_anybodys_fusion_must(fusion: str):
    check_fusion(fusion, **TINY.get(fusion, {}))
