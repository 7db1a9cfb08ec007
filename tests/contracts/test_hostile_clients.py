"""One client that misbehaves in whatever way is to the others as one that is absent."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fedbridge.methods.registry import FUSIONS, HEADS
from fedbridge.server.server import Server
from fedbridge.wire import Step, Upload, encode
from worlds import Played, World, make_world, play, tiny_config

FIRST, SECOND, AFTER = Step(1, 1), Step(2, 1), Step(9, 1)
TINY: dict[str, dict[str, Any]] = {"target": {"items": 16, "synthesis": 16, "steps": 2}}
EVIL = "client-2"
# Fed-ET reads the FM's features, and the settings say so where there is no FM
PAIRS = sorted({(f, h) for f in FUSIONS for h in HEADS} - {("fedet", "none")})


def world_of(fusion: str, head: str) -> World:
    return make_world(
        tiny_config(
            fusion={"name": fusion, **TINY.get(fusion, {})},
            large={"head": head} | ({"student_weight": 0.5} if HEADS[head].sums else {}),
            scenario={"clients": 3, "order": "same"},
            training={"rounds": 1, "epochs": 1},
        )
    )


def attempts(honest: Upload, old: Upload) -> dict[str, Upload]:
    """Return what a hostile client might send in the place of an honest upload."""

    def weights(factor: float) -> dict[str, torch.Tensor]:
        floats = {k: v for k, v in honest.state.items() if v.is_floating_point()}
        return honest.state | {k: v * factor for k, v in floats.items()}

    def counters(value: int) -> dict[str, torch.Tensor]:
        whole = {k: v for k, v in honest.state.items() if not v.is_floating_point()}
        return honest.state | {k: torch.full_like(v, value) for k, v in whole.items()}

    def turned(gram: torch.Tensor) -> torch.Tensor:
        """Keep the diagonal of 16 features' products, and turn the signs of others."""
        upper = torch.triu_indices(16, 16)
        return torch.where((upper[0] + upper[1]) % 3 == 1, -gram, gram) if len(gram) else gram

    adapter = {k: v * torch.nan for k, v in honest.adapter.items()}
    wider = {k: v[None] for k, v in honest.state.items()}
    sums = {k: getattr(honest, k) for k in ("gram", "cross", "counts")}
    extra = {k: 1e30 * v for k, v in (honest.extra or {"more": torch.ones(1)}).items()}
    large = {"extra": extra} | {k: 1e30 * (v if len(v) else torch.ones(1)) for k, v in sums.items()}
    of_none = replace(honest, gram=turned(honest.gram), cross=-3 * honest.cross - 1e-3)
    return {
        **({"sums of no items": of_none} if len(honest.cross) else {}),
        "no numbers": replace(honest, state=weights(torch.nan)),
        "no numbers in the large side": replace(
            honest, adapter=adapter or {"head": torch.zeros(1)}
        ),
        "wrong shapes": replace(honest, state=wider),
        "weights scaled": replace(honest, state=weights(1e30)),
        "sums scaled": replace(honest, **large),
        "a class that nobody knows": replace(honest, seen=(*honest.seen, 99)),
        "an old upload again": old,
        "more items than there can be": replace(honest, num_examples=10**30),
        "in another's name": replace(honest, client="client-9"),
        "whole numbers out of range": replace(honest, state=counters(2**62)),
        "numbers in the place of arrays": replace(honest, **dict.fromkeys(sums, torch.tensor(1.0))),
    }


def after_first(fusion: str, head: str, folder: Path) -> tuple[Played, dict[str, Upload]]:
    """Return a federation before its second step, saved, and the uploads of that step."""
    played = play(world_of(fusion, head), [FIRST])
    played.server.save(folder)
    sent = list(played.transport.exchange(played.server.broadcast(SECOND)))
    return played, {upload.client: upload for upload in sent}


def resumed(world: World, folder: Path) -> Server:
    server = world.server()
    server.load(folder)
    server.broadcast(SECOND)
    return server


def outcome(server: Server) -> dict[str, bytes]:
    """Return all that clients get to see of a round: models, the large side, what is shared."""
    server.finish_round(SECOND)
    return {name: encode(broadcast) for name, broadcast in server.broadcast(AFTER).items()}


@pytest.mark.parametrize(("fusion", "head"), PAIRS)
def test_a_hostile_client_is_to_the_others_as_an_absent_one(fusion: str, head: str, tmp_path: Path):
    played, uploads = after_first(fusion, head, tmp_path)
    old = next(u for u in played.transport.uploads if u.client == EVIL)
    tried = attempts(uploads[EVIL], old)
    without, against = (resumed(played.world, tmp_path) for _ in range(2))
    for name in ("client-1", "client-3"):
        without.absorb(uploads[name])
        for attempt in tried.values():
            against.absorb(attempt)
        against.absorb(uploads[name])
    assert len(against.refused) == 2 * len(tried) and not without.refused
    assert outcome(against) == outcome(without)
    assert against.taught == without.taught


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_a_client_that_was_refused_may_still_answer(fusion: str, tmp_path: Path):
    played, uploads = after_first(fusion, "analytic", tmp_path)
    honest, slow = (resumed(played.world, tmp_path) for _ in range(2))
    slow.absorb(replace(uploads["client-1"], seen=()))
    for upload in uploads.values():
        honest.absorb(upload)
        slow.absorb(upload)
    assert len(slow.refused) == 1
    assert outcome(slow) == outcome(honest)
