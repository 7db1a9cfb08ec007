"""Whole experiments on digits that take about a second, run here or in a process of their own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from fedbridge.core.locks import LOCK
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment

STEPS = 6
TREE: dict[str, Any] = {
    "name": "tiny",
    "data": {"name": "digits"},
    "scenario": {
        "clients": 3,
        "tasks": 3,
        "classes_per_task": 2,
        "public_per_class": 8,
        "train_per_class": 24,
    },
    "large": {"model": "patches", "size": 16},
    "small": {"models": ["cnn", "mlp", "mixer"], "dimension": 64},
    "training": {"rounds": 2, "epochs": 1, "batch": 16},
    "learner": {"name": "smcf", "memory": 4, "memory_batch": 8, "public_batch": 16},
    "fusion": {"name": "obod", "batch": 32},
    "engine": {"workers": 0, "device": "cpu"},
}


def tiny(**changes: Any) -> Config:
    """Return the settings of a tiny experiment; a section is laid over ours."""
    tree = dict(TREE)
    for key, value in changes.items():
        tree[key] = {**TREE[key], **value} if isinstance(value, dict) else value
    return parse_config(tree, "tiny")


def conduct(folder: Path, config: Config | None = None, until: int | None = None) -> bytes:
    """Start or go on with a run in this process, stop after some steps; return its table."""
    run = Run.create(folder, config) if config else Run.open(folder)
    progress = Experiment(run).run_steps()
    for step in progress:
        if step.done == until:
            progress.close()
    return table(folder)


def arrays(checkpoint: Path) -> dict[str, Tensor]:
    """Return every array of a checkpoint, the server's and all clients'."""
    return {
        f"{path.name}: {name}": value
        for path in checkpoint.glob("*.safetensors")
        for name, value in load_file(path).items()
    }


def table(folder: Path) -> bytes:
    """Return the accuracy table of a run."""
    return (folder / "accuracy.csv").read_bytes()


def process(folder: Path, sabotage: str = "") -> "subprocess.Popen[str]":
    """Go on with a run in a process of its own, after some lines of sabotage."""
    code = f"import sys; sys.argv = ['fedbridge', 'resume', {str(folder)!r}, '--quiet']\n"
    # what is started in the background of a shell inherits that Ctrl-C is ignored
    code += "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += textwrap.dedent(sabotage)
    code += "\nfrom fedbridge.cli.main import main\nif __name__ == '__main__': main()\n"
    script = folder.parent / "sabotage.py"  # a file, so that workers can import it
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, str(script)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def left_over(folder: Path) -> list[str]:
    """Return the names of temporary files below a folder."""
    found = [path.name for path in folder.rglob("*")]
    ends = (".partial",)
    return [n for n in found if n != LOCK and (n.startswith(".") or n.endswith(ends))]
