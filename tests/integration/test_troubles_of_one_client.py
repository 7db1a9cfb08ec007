"""Whole runs in which one client diverges, boasts or is sent what cannot be solved: they go on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny_runs import TREE, conduct, table, tiny

from fedbridge.core.checkpoints import Checkpoints
from fedbridge.core.errors import UserError
from fedbridge.core.losses import DivergedError
from fedbridge.core.saved import digests
from fedbridge.federation import local
from fedbridge.methods.context import TrainContext
from fedbridge.methods.files import parse_config
from fedbridge.methods.registry import LEARNERS
from fedbridge.report.run import write_page
from fedbridge.runs.run import Run
from fedbridge.wire import Message, Upload, encode


def events(folder: Path, kind: str) -> list[dict[str, object]]:
    return [event for event in Run.open(folder).events() if event["kind"] == kind]


def diverging(patch: pytest.MonkeyPatch, where: Callable[[TrainContext], bool]) -> None:
    """Let the model of some lessons diverge at the second step."""
    honest = LEARNERS["smcf"]

    def learn(context: TrainContext, options: object) -> None:
        honest.learn(context, options)
        if where(context):
            raise DivergedError(2)

    patch.setitem(LEARNERS, "smcf", replace(honest, learn=learn))


def test_a_client_that_diverges_once_is_named_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def first_of_second(context: TrainContext) -> bool:
        seen.append(f"{context.client} {context.number}")
        return seen.count("client-2 2") == 1 and seen[-1] == "client-2 2"

    diverging(monkeypatch, first_of_second)
    conduct(tmp_path / "run", tiny())
    (event,) = events(tmp_path / "run", "diverged")
    assert {key: event[key] for key in ("client", "task", "round", "step", "rate")} == {
        **{"client": "client-2", "task": 2, "round": 1},
        **{"step": 2, "rate": 0.004},
    }
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["results"]["large"]["class-incremental"]["final_accuracy"] > 0.9
    page = write_page(tmp_path / "run").read_text()
    assert "diverged: 1." in page and "diverged at step 2 with training.lr = 0.004" in page


MASKED = """
import math
import torch
from torch import nn


class Masked(nn.Module):
    features = 16

    def __init__(self, shape):
        super().__init__()
        self.a = nn.Linear(math.prod(shape), 16)
        self.register_buffer("mask", torch.full((16, 16), -torch.inf).triu(1))

    def forward(self, x):
        y = self.a(x.flatten(1))
        return y + y @ self.mask.softmax(1).t()
"""


@pytest.mark.parametrize(("learner", "fusion"), [("smcf", "obod"), ("fedweit", "fedweit")])
def test_a_model_with_an_infinite_mask_is_none_that_diverges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: str, fusion: str
) -> None:
    (tmp_path / "masked.py").write_text(MASKED)
    monkeypatch.syspath_prepend(tmp_path)
    small = {**TREE["small"], "models": ["masked:Masked"]}
    ways = {"learner": {"name": learner}, "fusion": {"name": fusion}}
    conduct(tmp_path / "run", parse_config({**TREE, **ways, "small": small}, "masked"))
    assert not events(tmp_path / "run", "diverged")
    assert not events(tmp_path / "run", "refused")


def test_a_run_in_which_all_diverge_ends_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging(monkeypatch, lambda context: context.number == 2)
    with pytest.raises(UserError, match="small models of all clients diverged in task 2, round 1"):
        conduct(tmp_path / "run", tiny())
    (event,) = events(tmp_path / "run", "aborted")
    assert "client-1 at step 2, client-2 at step 2, client-3 at step 2" in str(event["message"])


def test_a_client_with_far_too_many_items_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boastful(message: Message) -> bytes:
        if isinstance(message, Upload) and message.client == "client-2" and len(message.cross):
            factor = 1000
            sums = {k: getattr(message, k) * factor for k in ("gram", "cross", "counts")}
            message = replace(message, **sums, num_examples=message.num_examples * factor)
        return encode(message)

    monkeypatch.setattr(local, "encode", boastful)
    conduct(tmp_path / "run", tiny())
    found = events(tmp_path / "run", "capped")
    assert {event["client"] for event in found} == {"client-2"} and len(found) == 3
    assert "capped: 3." in write_page(tmp_path / "run").read_text()


def test_a_checkpoint_with_sums_of_no_items_does_not_end_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    conduct(folder, tiny(), until=2)
    kept = Checkpoints(folder / "checkpoints", 2)
    newest = kept.folder_of(kept.steps()[-1])
    path = newest / "large.safetensors"
    arrays = load_file(path)
    arrays["sums/gram"] = -1e3 * arrays["sums/gram"].abs()
    save_file(arrays, path)
    for client in newest.glob("client-*.safetensors"):
        states = load_file(client)
        states["head/total/gram"] = -1e3 * states["head/total/gram"].abs()
        save_file(states, client)
    _reseal(newest)
    conduct(folder)
    assert {event["client"] for event in events(folder, "unsolved")} == {
        "client-1",
        "client-2",
        "client-3",
    }
    assert b"client-3,3," in table(folder)
    assert "unsolved: " in write_page(folder).read_text()


def _reseal(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": digests(folder)}))
