"""What every method has to keep, ours and a stranger's: functions for one's own test suite."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fedbridge.config.files import parse_toml
from fedbridge.experiment import Experiment
from fedbridge.methods.config import Config
from fedbridge.methods.files import dump_config, parse_config
from fedbridge.runs import Run

TINY: dict[str, Any] = {
    "data": {"name": "digits"},
    "scenario": {"clients": 2, "tasks": 2, "classes_per_task": 2, "train_per_class": 12},
    "large": {"model": "patches", "size": 16},
    "small": {"models": ["mlp"], "dimension": 32, "warm_epochs": 1},
    "training": {"rounds": 2, "epochs": 1, "batch": 16},
    "learner": {"name": "finetune"},
    "fusion": {"name": "none"},
    "engine": {"workers": 0, "device": "cpu"},
}
"""A federation whose run takes about a second."""


def check_head(head: str, options: Mapping[str, Any] | None = None) -> None:
    """Check a head of the large side: one of ours, or ``MODULE:NAME``, with some of its options.

    A resolved config means the same again; a run gives the same numbers twice, and when it is
    stopped after its first round and resumed; the server takes in all that its clients upload.
    Raises AssertionError where it does not, UserError where it cannot be used at all.
    """
    _check({"large": {**TINY["large"], "head": head, **(options or {})}})


def _check(changes: dict[str, Any]) -> None:
    config = parse_config(TINY | changes, "contract")
    again = parse_config(parse_toml(dump_config(config), "resolved"), "resolved")
    assert again == config, "a resolved config must mean the same"
    with TemporaryDirectory() as folder:
        whole, twice, stopped = (Path(folder) / name for name in ("whole", "twice", "stopped"))
        expected = _table(whole, config)
        assert _table(twice, config) == expected, "a run must give the same numbers twice"
        _table(stopped, config, until=1)
        assert _table(stopped) == expected, "a run that is resumed must give the same numbers"


def _table(folder: Path, config: Config | None = None, until: int | None = None) -> bytes:
    """Carry a run out, or go on with it, and return the accuracies that it measured."""
    run = Run.create(folder, config) if config else Run.open(folder)
    for progress in islice(Experiment(run).conduct(), until):
        assert not progress.refused, "the server must take in what clients upload"
    return (folder / "accuracy.csv").read_bytes()
