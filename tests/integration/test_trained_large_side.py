"""Whole runs whose large side is trained by gradient, or whose public set is another."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import conduct, table, tiny

from fedbridge.core.errors import UserError
from fedbridge.federation.setup import build_worker_state, prepare
from fedbridge.models.fm.tuning import tunable
from fedbridge.runs.run import Run
from tiny_transformers import save_bert, save_vit

PROBE = {"head": "probe", "probe_lr": 0.02}


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_vit(tmp_path_factory.mktemp("vit"))


def tuned(vit: str, tuning: str, **changes):
    """Return a run of two clients and tasks on few items: every item is encoded very often."""
    scenario = {"clients": 2, "tasks": 2, "train_per_class": 16, "public_per_class": 4}
    large = {**PROBE, "model": vit, "tuning": tuning, "tuning_lr": 0.01, "probe_epochs": 1}
    small = {"models": ["mlp"], "dimension": 16}
    return tiny(**{"scenario": scenario, "large": large, "small": small, **changes})


def large_rows(folder: Path) -> list[str]:
    return [line for line in table(folder).decode().splitlines() if ",large," in line]


def test_matrices_of_earlier_tasks_stay_as_prototypes_are_learnt(tmp_path, vit):
    large = {**PROBE, "head": "prototypes", "model": vit, "tuning": "lora", "tuning_lr": 0.01}
    config = tuned(vit, "lora", large={**large, "tuning_size": 6})
    whole = conduct(tmp_path / "whole", config)
    conduct(tmp_path / "parts", config, until=2)
    after_one = matrices(tmp_path / "parts")
    tunable.cache_clear()
    assert conduct(tmp_path / "parts") == whole
    after_two = matrices(tmp_path / "parts")
    for name, before in after_one.items():
        after = after_two[name]
        one, other = (before, after) if "lora_A" in name else (before.T, after.T)
        assert torch.equal(one[:3], other[:3]) and not torch.equal(one[3:], other[3:])


def matrices(folder: Path) -> dict[str, torch.Tensor]:
    """Return the low-rank matrices as the server held them last."""
    checkpoint = Run.open(folder).latest_checkpoint()
    assert checkpoint is not None
    found = load_file(checkpoint / "large.safetensors")
    return {name: value for name, value in found.items() if "lora_" in name}


@pytest.mark.parametrize("tuning", ["none", "lora", "prompt"])
def test_resumed_run_ends_as_an_uninterrupted_one(tmp_path, vit, tuning):
    config = tiny(large=PROBE) if tuning == "none" else tuned(vit, tuning)
    whole = conduct(tmp_path / "whole", config)
    conduct(tmp_path / "parts", config, until=1)
    conduct(tmp_path / "parts", until=3)
    tunable.cache_clear()  # as in another process
    assert conduct(tmp_path / "parts") == whole
    assert conduct(tmp_path / "again", config) == whole
    one, other = (
        json.loads((tmp_path / n / "summary.json").read_text()) for n in ("whole", "parts")
    )
    assert one["results"] == other["results"] and one["bytes_up"] == other["bytes_up"]


def test_tail_anchors_and_prompts_are_resumed_as_they_were(tmp_path, vit):
    pool = {"tuning_size": 2, "pool": 3, "top_k": 2}
    large = {**PROBE, "head": "tail-anchors", "model": vit, "tuning": "pool", **pool}
    config = tuned(vit, "pool", large={**large, "probe_epochs": 1, "anchors": 12})
    whole = conduct(tmp_path / "whole", config)
    conduct(tmp_path / "parts", config, until=1)
    conduct(tmp_path / "parts", until=3)
    tunable.cache_clear()
    assert conduct(tmp_path / "parts") == whole
    checkpoint = Run.open(tmp_path / "whole").latest_checkpoint()
    assert checkpoint is not None
    found = load_file(checkpoint / "large.safetensors")
    assert {k: tuple(v.shape) for k, v in found.items()} == {
        "/keys": (3, 16),
        "/prompts": (3, 2, 16),
        "/prototypes": (32, 10),
        "/settled": (10,),
    }


def test_workers_change_no_number(tmp_path, vit):
    data = {"name": "digits", "public": "none"}
    whole = conduct(tmp_path / "here", tuned(vit, "lora", data=data))
    engine = {"workers": 2, "device": "cpu"}
    assert conduct(tmp_path / "there", tuned(vit, "lora", data=data, engine=engine)) == whole


def test_tuning_changes_what_the_large_side_says(tmp_path, vit):
    tables = []
    for tuning in ("none", "lora", "prompt"):
        conduct(tmp_path / tuning, tuned(vit, tuning))
        tables.append(large_rows(tmp_path / tuning))
    assert tables[0] != tables[1] != tables[2] != tables[0]


def test_a_probe_learns_digits(tmp_path):
    conduct(tmp_path / "run", tiny(large={**PROBE, "probe_epochs": 5}))
    results = json.loads((tmp_path / "run" / "summary.json").read_text())["results"]
    assert results["large"]["task-aware"]["final_accuracy"] > 0.8


def test_a_client_reads_its_items_with_the_part_it_was_sent(vit):
    config = tuned(vit, "lora")
    site = prepare(config)
    client = build_worker_state(config, site.store, ("client-1",)).clients["client-1"]
    rows = site.streams.clients[0].tasks[0].train[:5]
    before = client.large.features_of(rows)
    fm = tunable(config.large, site.shared.device, config.seed)
    part = {name: tensor + 0.5 for name, tensor in fm.fresh.items()}
    client.large.take(part)
    after = client.large.features_of(rows)
    assert before.shape == after.shape == (5, 16) and not np.allclose(before, after)
    assert client.large.public().shape == (len(site.shared.public_inputs), 16)


def test_texts_can_be_tuned_on(tmp_path, monkeypatch, tmp_path_factory):
    from fedbridge.core.tokens import tokenize
    from fedbridge.data import load_dataset
    from fedbridge.federation import setup

    def colours(data):
        digits = load_dataset("digits")
        words = ("red apple", "green pear", "red pear", "green apple")
        items = tuple(words[label % 4] for label in digits.labels.tolist())
        inputs = np.stack([tokenize(text) for text in items])
        return replace(digits, modality="text", items=items, inputs=inputs, fingerprint="words")

    monkeypatch.setattr(setup, "load_data", colours)
    config = tuned(save_bert(tmp_path_factory.mktemp("bert")), "lora", small={"models": ["bag"]})
    conduct(tmp_path / "run", config)
    assert large_rows(tmp_path / "run")


def test_what_cannot_be_tuned_is_refused_before_any_work(tmp_path):
    with pytest.raises(UserError, match=r"large.tuning: 'lora' needs .* found 'patches'"):
        conduct(tmp_path / "run", tiny(large={**PROBE, "tuning": "lora"}))


# -- public sets


def test_clients_do_not_notice_what_the_public_set_is_made_of():
    sites = [prepare(tiny(data={"name": "digits", "public": kind})) for kind in ("same", "none")]
    same, none = sites
    assert len(same.shared.public_inputs) == len(none.shared.public_inputs)
    assert not np.array_equal(same.shared.public_inputs, none.shared.public_inputs)
    assert same.shared.public_features.shape == none.shared.public_features.shape
    for one, other in zip(same.streams.clients, none.streams.clients, strict=True):
        assert one.name == other.name
        for ours, theirs in zip(one.tasks, other.tasks, strict=True):
            assert all(np.array_equal(vars(ours)[k], vars(theirs)[k]) for k in vars(ours))
    # the head's features are standardised by the public set that there is
    assert np.abs(none.shared.public_features.mean(0)).max() < 1e-3


@pytest.mark.parametrize("head", ["analytic", "none"])
def test_a_run_without_public_data_can_be_resumed(tmp_path, head):
    config = tiny(
        data={"name": "digits", "public": "none", "public_items": 12}, large={"head": head}
    )
    whole = conduct(tmp_path / "whole", config)
    conduct(tmp_path / "parts", config, until=3)
    assert conduct(tmp_path / "parts") == whole


def test_an_unknown_public_set_is_refused_before_any_work(tmp_path):
    with pytest.raises(UserError, match=r"data.public: must be same, none, .*'fonds'"):
        conduct(tmp_path / "run", tiny(data={"name": "digits", "public": "fonds"}))


def test_a_public_set_of_another_kind_is_refused(tmp_path, monkeypatch):
    from fedbridge.data import public

    texts = replace(prepare(tiny()).dataset, modality="text")
    monkeypatch.setattr(public, "load_dataset", lambda name, **_: texts)
    with pytest.raises(UserError, match=r"data.public: must be a data set of images"):
        conduct(tmp_path / "run", tiny(data={"name": "digits", "public": "wordnet"}))
