"""What the server gets to see, and what a run writes down, of a client's private data."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import conduct, tiny

from fedbridge.federation import local
from fedbridge.federation.local import LocalTransport
from fedbridge.federation.setup import build_worker_state, prepare
from fedbridge.runs.run import Run
from fedbridge.wire import UPLOAD_FIELDS, Broadcast, Evaluation, Upload

STRETCH = 24  # numbers in a row that would give an item away


@dataclass
class Traffic:
    """Every message that was encoded, and every upload that reached the server."""

    sent: list[tuple[object, bytes]] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)

    def sizes(self, kind: type) -> list[int]:
        return [len(data) for message, data in self.sent if isinstance(message, kind)]


@pytest.fixture(scope="module")
def traffic(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Traffic, Path]:
    """Listen to a whole run."""
    heard, folder = Traffic(), tmp_path_factory.mktemp("listening") / "run"
    encode, exchange = local.encode, LocalTransport.exchange

    def encode_aloud(message):
        data = encode(message)
        heard.sent.append((message, data))
        return data

    def exchange_aloud(self, broadcasts):
        for upload in exchange(self, broadcasts):
            heard.uploads.append(upload)
            yield upload

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "encode", encode_aloud)
        patch.setattr(LocalTransport, "exchange", exchange_aloud)
        conduct(folder, tiny())
    return heard, folder


def test_bytes_are_those_of_the_messages(traffic):
    heard, folder = traffic
    rounds = [e for e in Run.open(folder).events() if e["kind"] == "round"]
    summary = json.loads((folder / "summary.json").read_text())
    up = np.array(heard.sizes(Upload)).reshape(len(rounds), 3).sum(1)
    assert [e["bytes_up"] for e in rounds] == up.tolist()
    assert summary["bytes_up"] == up.sum()
    # a measurement's broadcast is no traffic: before the first round and after each task
    down = np.array(heard.sizes(Broadcast)).reshape(len(rounds) + 4, 3).sum(1)
    learning = [1, 2, 4, 5, 7, 8]
    assert [e["bytes_down"] for e in rounds] == down[learning].tolist()
    assert summary["bytes_down"] == down[learning].sum()
    assert len(heard.sizes(Evaluation)) == 4 * 3


def test_uploads_hold_the_allowed_fields_and_nothing_else(traffic):
    heard, _ = traffic
    assert len(heard.uploads) == 6 * 3
    states = {}
    for upload in heard.uploads:
        assert set(vars(upload)) == UPLOAD_FIELDS
        assert all(type(c) is int for c in upload.seen)
        names = states.setdefault(upload.client, set(upload.state))
        assert set(upload.state) == names
        first = upload.round == 1
        assert [len(a) > 0 for a in (upload.gram, upload.cross, upload.counts)] == [first] * 3
        assert not upload.adapter and not upload.extra


def test_of_others_a_client_is_sent_their_total_and_nothing_else(traffic):
    """With three clients, what goes to one are the three added up."""
    heard, _ = traffic
    sent = [message for message, _ in heard.sent if isinstance(message, Broadcast)]
    sums = [message for message in sent if message.adapter]
    assert sums and all(set(m.adapter) == {"gram", "cross", "counts"} for m in sums)
    assert not any(message.shared for message in sent)
    first = [upload for upload in heard.uploads if (upload.task, upload.round) == (1, 1)]
    for part in ("gram", "cross", "counts"):
        total = sum(getattr(upload, part).double() for upload in first)
        np.testing.assert_allclose(sums[0].adapter[part], total, rtol=1e-5, atol=1e-4)
        for upload in first:
            assert not np.array_equal(sums[0].adapter[part], getattr(upload, part))
    # they travel in the round after they came, to everybody; and to be measured with
    learning = {1, 2, 4, 5, 7, 8}
    rounds = [i for i in range(10) if all(m.adapter for m in sent[3 * i : 3 * i + 3])]
    assert [i for i in rounds if i in learning] == [2, 5, 8]
    assert len(sums) == 3 * len(rounds)


def test_no_private_item_is_in_an_upload(traffic):
    heard, folder = traffic
    site = prepare(Run.open(folder).config)
    found = 0
    for message, data in heard.sent:
        if not isinstance(message, Upload):
            continue
        stream = next(s for s in site.streams.clients if s.name == message.client)
        task = stream.tasks[message.task - 1]
        for row in np.concatenate([task.train[:8], task.validation[:4], task.test[:4]]):
            picture, embedding = site.dataset.items[row].ravel(), site.store[np.array([row])][0]
            lifted = site.shared.lift(embedding[None])[0]
            # the middle of a picture and the start of a vector: nothing that is constant
            middle = slice(len(picture) // 2, len(picture) // 2 + STRETCH)
            traces = [picture[middle], (picture / 255).astype(np.float32)[middle]]
            traces += [v[:STRETCH].astype(t) for v in (embedding, lifted) for t in ("f4", "f8")]
            assert not any(trace.tobytes() in data for trace in traces)
            found += 1
    assert found == 18 * 16


def test_search_for_private_items_would_find_one(traffic):
    heard, folder = traffic
    site = prepare(Run.open(folder).config)
    row = site.streams.clients[0].tasks[0].train[0]
    lifted = site.shared.lift(site.store[np.array([row])])[0]
    upload = next(u for u in heard.uploads if u.round == 1)
    upload.cross[: len(lifted), 0] = torch.from_numpy(lifted)
    column = upload.cross[:, 0].contiguous()
    leaked = local.encode(Upload("a", 1, 1, {}, (0,), cross=column))
    assert lifted[:STRETCH].tobytes() in leaked


@pytest.mark.parametrize("memory", [0, 4])
def test_checkpoints_hold_private_rows_only_as_exemplars(tmp_path, memory):
    folder = tmp_path / "run"
    settings = tiny(learner={"name": "smcf", "memory": memory}, engine={"checkpoints": 6})
    conduct(folder, settings)
    site = prepare(settings)
    model = {name: set() for name in site.models}
    for name in site.models:
        client = build_worker_state(settings, site.store, (name,)).clients[name]
        model[name] = set(client.model.state_dict())
    checkpoints = sorted((folder / "checkpoints").iterdir())
    assert len(checkpoints) == 6
    for number, checkpoint in enumerate(checkpoints):
        for stream in site.streams.clients:
            state = json.loads((checkpoint / f"{stream.name}.json").read_text())
            assert set(state) == {"task", "memory", "stream"}
            assert state["stream"] == []
            tasks = stream.tasks[: (number + 1) // 2]
            kept = {str(c) for t in tasks for c in t.classes} if memory else set()
            assert set(state["memory"]) == kept
            own = np.concatenate([*(t.train for t in tasks), np.zeros(0, np.int64)])
            for label, rows in state["memory"].items():
                of_class = own[site.dataset.labels[own] == int(label)]
                each = memory * len(stream.seen(3)) // len(kept)
                assert len(rows) == min(each, len(of_class))
                assert set(rows) <= set(of_class.tolist())
            arrays = load_file(checkpoint / f"{stream.name}.safetensors")
            parts = {key.partition("/")[0] for key in arrays}
            states = {"model", "offered", *(["previous"] if number >= 2 else [])}
            assert parts == states | {"head"}
            for part in states:
                names = {key.partition("/")[2] for key in arrays if key.startswith(f"{part}/")}
                assert names == model[stream.name]
            sums = {f"{of}/{s}" for of in ("total", "own") for s in ("gram", "cross", "counts")}
            names = {key.partition("/")[2] for key in arrays if key.startswith("head/")}
            assert names == sums | {"choice"}
