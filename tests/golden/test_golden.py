"""A tiny experiment on digits, end to end, and the numbers it must give.

After a change that is meant to change them: ``python tests/golden/test_golden.py`` writes the
table anew; say in the commit why it moved.
"""

import json
import os
import tempfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from fedbridge.core.losses import confidence
from fedbridge.federation.setup import prepare
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.methods.registry import FUSIONS, LEARNERS
from fedbridge.models.small.space import embed
from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment
from fedbridge.server.server import Server

GOLDEN = Path(__file__).with_name("accuracy.json")
# Another processor rounds otherwise, and hard gates make that grow: with other instruction sets
# these numbers moved by up to 0.008, 0.016, 0.010 and 0.003. A fifth of one loss term's weight
# moves some of them by nearly twice the tolerance. The sureness of smcf+fedet is 0.6909 on one kind
# of processor and 0.7111 on another: the table has the mean of both.
TOLERANCES = {"final_accuracy": 0.015, "forgetting": 0.03, "sureness": 0.016, "taught": 0.01}
CASES = [f"{learner}+none" for learner in sorted(LEARNERS)]
# a fusion that has a learner of its own does nothing with another
CASES += [f"{f if f in LEARNERS else 'smcf'}+{f}" for f in sorted(FUSIONS) if f != "none"]

Results = dict[str, dict[str, float]]

# all settings that these methods know are spelled out, so that a new default moves nothing
SETTINGS: dict[str, Any] = {
    "seed": 3,
    "data": {"name": "digits"},
    "scenario": {
        "clients": 3,
        "tasks": 2,
        "classes_per_task": 3,
        "private_classes": 0,
        "order": "own",
        "alpha": 1.0,
        "test": 0.2,
        "public": 0.1,
        "public_per_class": 15,
        "validation": 0.1,
        "train_per_class": 12,
        "history": "task",
    },
    "large": {
        "model": "patches",
        "size": 16,
        "batch": 256,
        "head": "analytic",
        "scope": "federation",
        "projection": 0,
        "regularisation": [0.01, 0.1, 1.0],
        "personal_weights": [0.0, 3.0],
        "student_weight": 0.3,
    },
    "small": {
        "models": ["mlp"],
        "dimension": 64,
        "temperature": 16.0,
        "warm_epochs": 0,
    },
    "training": {"rounds": 2, "epochs": 3, "batch": 16, "lr": 0.002, "weight_decay": 0.001},
    "engine": {"workers": 0, "threads": 1, "device": "cpu", "precision": "float32"},
}
LEARNER: dict[str, dict[str, Any]] = {
    "derpp": {"alpha": 0.1, "beta": 1.0, "memory": 2, "keep": "reservoir", "memory_batch": 8},
    "ewc": {
        "weight": 0.3,
        "decay": 1.0,
        "normalise": True,
        "fisher_items": 20,
        "classes": "task",
    },
    "finetune": {"classes": "seen"},
    "glfc": {
        "compensation": 0.5,
        "relation": 0.25,
        "memory": 2,
        "keep": "herding",
        "memory_batch": 8,
    },
    "lwf": {
        "weight": 1.0,
        "temperature": 2.0,
        "on": "private",
        "public_batch": 16,
        "classes": "task",
    },
    "replay": {"memory": 2, "keep": "balanced", "memory_batch": 8},
    "smcf": {
        "previous": 1.0,
        "large": 1.0,
        "guide": "together",
        "teach_unseen": True,
        "on": "public",
        "sharpness": 8.0,
        "public_batch": 16,
        "memory": 2,
        "keep": "balanced",
        "memory_batch": 8,
        "rehearsal": 1.0,
        "relation": 0.0,
    },
    "target": {"weight": 1.0, "batch": 16, "classes": "task"},
    "fedweit": {"sparse": 0.0001, "retain": 100.0, "classes": "task"},
}
FUSION: dict[str, dict[str, Any]] = {
    "fedavg": {"groups": False},
    "feddf": {"epochs": 1, "batch": 16, "lr": 0.0005},
    "fedet": {
        "epochs": 1,
        "batch": 16,
        "lr": 0.0005,
        "diversity": 0.05,
        "large_epochs": 10,
        "large_lr": 0.001,
    },
    "fedmd": {"epochs": 1, "batch": 16, "lr": 0.0005},
    "fedproto": {"pull": 1.0},
    "fedprox": {"proximal": 1.0, "groups": False},
    "fedweit": {"groups": False},
    "none": {},
    "obod": {
        "teachers": 4,
        "rounds": "every",
        "others": True,
        "snapshots": 2,
        "accept": True,
        "anchor": 1.0,
        "epochs": 1,
        "batch": 16,
        "lr": 0.0005,
        "ablation": {
            "order": "best-last",
            "form": "one-by-one",
            "compare": "classes",
            "classes": "teacher",
            "confidence": True,
            "mass": True,
            "only_if_more_confident": True,
            "statistics": True,
        },
    },
    "target": {
        "groups": False,
        "items": 32,
        "synthesis": 32,
        "steps": 5,
        "lr": 0.002,
        "match": 1.0,
        "differ": 1.0,
    },
}


def config_of(case: str) -> Config:
    learner, fusion = case.split("+")
    chosen = {
        "learner": {"name": learner, **LEARNER.get(learner, {})},
        "fusion": {"name": fusion, **FUSION.get(fusion, {})},
    }
    if learner == fusion == "fedweit":  # uploads no model that the large side could learn from
        chosen["large"] = {**SETTINGS["large"], "student_weight": 0.0}
    return parse_config({**SETTINGS, **chosen}, "golden")


def measure(case: str, folder: Path) -> Results:
    """Carry the experiment out; return metrics by predictor and protocol, and two traces.

    ``sureness`` of each client's last model on the public set and the mean weight with which
    each client was ``taught`` are smooth, so that they tell what accuracy is too coarse for.
    """
    run = Run.create(folder, config_of(case))
    for _ in Experiment(run).run_steps():
        pass
    results = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["results"]
    found: Results = {
        f"{predictor}, {protocol}": {m: values[m] for m in ("final_accuracy", "forgetting")}
        for predictor, protocols in results.items()
        for protocol, values in protocols.items()
    }
    for client, sure in surenesses(run).items():
        weights = [e["weight"] for e in run.events() if e.get("student") == client]
        found[client] = {"sureness": sure, "taught": sum(weights) / max(1, len(weights))}
    return {k: {m: round(v, 4) for m, v in values.items()} for k, values in found.items()}


def surenesses(run: Run) -> dict[str, float]:
    """Return how sure each client's last model is of the public set."""
    shared = (site := prepare(run.config)).shared
    server = Server(shared, site.models, lambda function, jobs: [])
    checkpoint = run.latest_checkpoint()
    assert checkpoint is not None
    server.load(checkpoint)
    found = {}
    for name, state in server.states.items():
        model = shared.small_model(site.models[name], name)
        model.load_state_dict(state)
        logits = shared.logits(embed(model, shared.public_inputs), torch.arange(10))
        found[name] = float(confidence(logits).mean())
    return found


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def measured(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Results]:
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(cache))
    return lambda case: measure(case, tmp_path / "run")


def golden() -> dict[str, Results]:
    table: dict[str, Results] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return table


def test_the_table_holds_every_learner_and_every_fusion():
    assert list(golden()) == CASES


@pytest.mark.parametrize("case", CASES)
def test_no_setting_of_a_method_is_left_to_its_default(case: str):
    config = config_of(case)
    for options in (config.learner, config.fusion):
        assert options.model_fields_set == set(type(options).model_fields)


@pytest.mark.parametrize(("one", "other"), list(combinations(CASES, 2)))
def test_the_table_tells_the_methods_apart(one: str, other: str):
    """A table in which rows are alike would catch nothing."""
    assert moved(golden()[one], golden()[other])


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_those_of_the_table(case: str, measured: Callable[[str], Results]):
    found, expected = measured(case), golden()[case]
    assert found.keys() == expected.keys()
    assert not moved(expected, found)  # (row, number): (expected, found)


def moved(expected: Results, found: Results) -> dict[tuple[str, str], tuple[float, float]]:
    """Return all numbers that differ by more than their tolerance."""
    return {
        (row, name): (value, found[row][name])
        for row, values in expected.items()
        for name, value in values.items()
        if abs(found[row][name] - value) > TOLERANCES[name]
    }


def regenerate() -> None:
    """Write the table anew from the code as it is."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDBRIDGE_CACHE"] = str(Path(folder) / "cache")
        table = {case: measure(case, Path(folder) / case) for case in CASES}
    draft = GOLDEN.with_suffix(".draft")
    draft.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    draft.replace(GOLDEN)


if __name__ == "__main__":
    regenerate()
