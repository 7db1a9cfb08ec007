"""Whole runs of clients that are unequal: late, gone, slow, visited by old classes, or absent."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import conduct, tiny

from fedbridge.data import load_dataset
from fedbridge.data.dataset import Dataset
from fedbridge.federation import setup
from fedbridge.federation.setup import prepare
from fedbridge.methods.config import Config
from fedbridge.runs.run import Run

UNEQUAL = {
    "joins": [1, 2, 1],
    "leaves": [3, 3, 2],
    "participation_rounds": [2, 2, 1],
    "data_fraction": [1.0, 0.5, 0.7],
}
CASES: dict[str, dict[str, Any]] = {
    "late": {"joins": [1, 1, 3]},
    "gone": {"leaves": [3, 1, 2]},
    "others are slow": {"participation_rounds": [1, 1, 2]},
    "all are there": {"participation_rounds": [2]},
    "repeats": {"repeats": 1},
    "blur": {"blur": 0.3},
    "unequal": UNEQUAL,
    "nobody in first rounds": {"participation_rounds": [1]},
    "domains": {"kind": "domain-incremental", "classes_per_task": 4, "train_per_class": 8},
    "everything": {"repeats": 1, "blur": 0.2, **UNEQUAL, "leaves": [4, 3, 2]},
}


def settings(case: str, **changes: Any) -> Config:
    base = tiny().scenario.model_dump(exclude_unset=True)
    small = {"models": ["mlp"], "dimension": 32}
    large = {"regularisation": [0.1, 1.0], "personal_weights": [0.0, 3.0]}
    return tiny(**{"scenario": {**base, **CASES[case]}, "small": small, "large": large, **changes})


@pytest.fixture(autouse=True)
def three_domains(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make digits a data set of three domains: as they are, inverted and pale."""

    def coloured(data: Any) -> Dataset:
        digits = load_dataset("digits")
        domains_ = np.arange(len(digits), dtype=np.int64) % 3
        paint = np.stack([digits.items, 255 - digits.items, digits.items // 2])
        items = paint[domains_, np.arange(len(digits))]
        # digits are kept at one size, so that small models and the FM read the same pictures
        assert digits.items is digits.inputs or digits.items.shape == digits.inputs.shape
        named = replace(digits, items=items, inputs=items, domains=domains_)
        return replace(
            named, domain_names=("plain", "inverted", "pale"), fingerprint="three-domains"
        )

    monkeypatch.setattr(setup, "load_data", coloured)
    yield


def rounds(folder: Path) -> list[dict[str, Any]]:
    return [e for e in Run.open(folder).events() if e["kind"] == "round"]


def numbers(tree: Any) -> Iterator[float]:
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict | list):
            yield from numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield float(value)


@pytest.mark.parametrize("case", CASES)
def test_it_runs_to_its_end_and_resumed_to_the_same(case: str, tmp_path: Path):
    config = settings(case)
    whole = conduct(tmp_path / "whole", config)
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    found = list(numbers(summary["results"]))
    assert found and all(math.isfinite(number) for number in found)
    steps = config.scenario.slots * config.training.rounds
    assert len(rounds(tmp_path / "whole")) == steps

    conduct(tmp_path / "parts", config, steps // 2)  # in the middle of a task, if tasks are odd
    assert conduct(tmp_path / "parts") == whole
    again = json.loads((tmp_path / "parts" / "summary.json").read_text())
    for key in ("seconds", "peak_memory_mib"):
        again.pop(key), summary.pop(key)
    assert again == summary


def test_workers_change_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()  # workers see the data as they are
    whole = conduct(tmp_path / "here", settings("everything"))
    workers = settings("everything", engine={"workers": 2, "device": "cpu"})
    assert conduct(tmp_path / "there", workers) == whole


def measured(folder: Path) -> dict[str, set[int]]:
    """Return after which of its own tasks each client was measured."""
    table: dict[str, set[int]] = {}
    for line in (folder / "accuracy.csv").read_text().splitlines()[1:]:
        client, after, *_ = line.split(",")
        table.setdefault(client, set()).add(int(after))
    return table


def test_each_client_is_measured_after_each_of_its_own_tasks(tmp_path: Path):
    conduct(tmp_path / "run", settings("unequal"))
    # tasks 1 to 3, 2 to 3 and 1 to 2 in slots of time; own tasks are counted from 1
    expected = {"client-1": {0, 1, 2, 3}, "client-2": {0, 1, 2}, "client-3": {0, 1, 2}}
    assert measured(tmp_path / "run") == expected


def test_where_nobody_is_nothing_travels(tmp_path: Path):
    config = settings("nobody in first rounds")
    conduct(tmp_path / "run", config)
    streams = prepare(config).streams.clients
    for event in rounds(tmp_path / "run"):
        present = [s for s in streams if s.takes_part(event["task"], event["round"], 2)]
        assert (event["bytes_up"] > 0) == (event["bytes_down"] > 0) == bool(present)


def test_others_do_not_move_a_client_that_learns_alone(tmp_path: Path):
    def rows(case: str) -> list[str]:
        alone = {"large": {"scope": "client"}, "fusion": {"others": False}}
        conduct(tmp_path / case, settings(case, **alone))
        lines = (tmp_path / case / "accuracy.csv").read_text().splitlines()
        return [line for line in lines if line.startswith("client-3,")]

    # the same items, but in the one case others are away in every first round
    assert rows("others are slow") == rows("all are there")
