"""A module as a stranger writes it: a data set, a scenario and metrics in one file."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

MODULE = '''
import numpy as np

from fedbridge.config import Section
from fedbridge.data import DataSource, Division, Items, ScenarioKind, TaskItems
from fedbridge.core.metrics import Metric
from fedbridge.core.rng import rng_for


class Stripes(Section):
    """How stripes are drawn."""

    each: int = 60
    """Pictures of a width."""


def stripes(options, workspace):
    rng = np.random.default_rng(0)
    labels = np.arange(4 * options.each) % 4
    period = np.array([16, 8, 4, 2])[labels]
    columns = np.arange(16) + rng.integers(0, 16, (len(labels), 1))
    light = 150 * (columns % period[:, None] * 2 < period[:, None])
    pictures = light[:, None, :] + rng.integers(0, 100, (len(labels), 16, 16))
    return Items(pictures.astype(np.uint8), labels, classes=("wide", "medium", "narrow", "fine"))


STRIPES = DataSource(
    "stripes of four widths", stripes, options=Stripes, licences=("mine",), sources=("drawn",)
)


class Turns(Section):
    """How classes go round."""

    step: int = 1
    """How many classes later the next client begins."""


def turns(dataset, settings, options, seed):
    clients, used = {}, []
    for k in range(settings.clients):
        tasks = {}
        for slot in range(1, settings.slots + 1):
            label = (slot - 1 + k * options.step) % len(dataset.classes)
            rows = np.flatnonzero(dataset.labels == label)
            mixed = rng_for(seed, "scenario", "turns", label).permutation(rows)
            mine = mixed[k :: settings.clients]
            tasks[slot] = TaskItems(mine[4:16], mine[2:4], mine[:2], f"turn {slot}")
            used.append(mine[:16])
        clients[f"client-{k + 1}"] = tasks
    free = np.setdiff1d(np.arange(len(dataset)), np.concatenate(used))
    return Division(free[:20], clients)


TURNS = ScenarioKind(turns, "clients go round the classes, one in each task", options=Turns)


def worst(table):
    return min(matrix[-1].mean() for matrix in table.accuracy)


WORST = Metric(worst, "worst client", "final accuracy of the client that has least")
NOTHING = Metric(lambda table: 1 / 0, "nothing", "never a number")
WORDS = Metric(lambda table: "high", "words", "never a number")
LESS = Metric(lambda table: 0.25, "less", "a quarter", better="lower", predictors=("large",))
'''


def at_home(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str = MODULE) -> str:
    """Make a folder the current one, with a module in it, and return the module's name."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop(name, None)
    (folder / f"{name}.py").write_text(text)
    return name


def tree_of(module: str, **changes: Any) -> dict[str, Any]:
    """Return what an experiment on a stranger's data set, scenario and metric states."""
    scenario = {"kind": f"{module}:TURNS", "options": {"step": 2}, "clients": 2, "tasks": 2}
    return {
        "data": {"name": f"{module}:STRIPES", "options": {"each": 50}},
        "scenario": scenario,
        "track": {"metrics": [f"{module}:WORST"]},
        "large": {"model": "patches", "size": 16},
        "small": {"models": ["mlp"], "dimension": 32},
        "training": {"rounds": 1, "epochs": 1, "batch": 16},
        "learner": {"name": "finetune"},
        "fusion": {"name": "none"},
        "engine": {"workers": 0, "device": "cpu"},
    } | changes


def with_metric(folder: Path, key: str, value: float, **about: Any) -> None:
    """Let a finished run have a metric of its own, of its small models, as a run keeps it."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["metrics"] = {key: {"title": "own", "summary": "what it means"} | about}
    summary["results"]["small"]["class-incremental"][key] = value
    path.write_text(json.dumps(summary), encoding="utf-8")
