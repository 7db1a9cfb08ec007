"""Measures what a round costs with each engine beside what it takes to learn.

    python benchmarks/engines.py [--rounds 10] [--out docs/benchmarks]

Three clients with a model of some megabytes take one training step each per round, so that a
round is next to nothing but the engine: messages encoded, carried, decoded, states written. All
engines must end with the same accuracy table, byte for byte; the script checks that. The local
engine hosts clients in this process or in two workers; the simulation is Flower's, with two
workers. Time per round is the median of the rounds after the first; start-up is what a whole run
takes beyond its rounds.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from fedbridge.cli import engine_of
from fedbridge.config import parse_config
from fedbridge.experiment import Experiment
from fedbridge.runs import Run

TREE: dict[str, Any] = {
    "name": "engines",
    "data": {"name": "digits"},
    "scenario": {"clients": 3, "tasks": 2, "classes_per_task": 2, "train_per_class": 16},
    "large": {"model": "patches", "size": 16},
    "small": {"models": ["resnet"]},
    "training": {"rounds": 10, "epochs": 1, "batch": 64},
    "learner": {"name": "finetune"},
    "fusion": {"name": "none"},
}
ENGINES = {
    "local, this process": {"kind": "local", "workers": 0},
    "local, two workers": {"kind": "local", "workers": 2},
    "Flower simulation, two workers": {"kind": "flower", "workers": 2},
}


def measure(engine: dict[str, Any], rounds: int, folder: Path) -> dict[str, Any]:
    """Carry out a run; return its seconds, the megabytes of a round, and its table."""
    training = TREE["training"] | {"rounds": rounds}
    tree = TREE | {"engine": engine | {"device": "cpu"}, "training": training}
    run = Run.create(folder, parse_config(tree, "engines"))
    start = time.monotonic()
    for _ in Experiment(run, connect=engine_of(run.config)(run)).conduct():
        pass
    total = time.monotonic() - start
    events = [e for e in run.events() if e["kind"] == "round"]
    each = [e["seconds"] for e in events]
    return {
        "round": statistics.median(each[1:]),
        "start": total - sum(each),
        "megabytes": statistics.median(e["bytes_up"] + e["bytes_down"] for e in events) / 1e6,
        "table": (folder / "accuracy.csv").read_bytes(),
    }


def page(found: dict[str, dict[str, Any]], rounds: int) -> str:
    """Return the results as a Markdown table."""
    lines = ["<!-- written by benchmarks/engines.py -->", ""]
    lines += ["| engine | a round | all else |", "|---|---|---|"]
    for name, one in found.items():
        lines += [f"| {name} | {one['round']:.2f} s | {one['start']:.1f} s |"]
    megabytes = next(iter(found.values()))["megabytes"]
    lines += [
        "",
        f"Three clients, {2 * rounds} rounds of one training step, {megabytes:.1f} MB per round; "
        f"median round; all else is preparation, start-up, evaluation and the end. "
        f"The accuracy tables are the same, byte for byte. {os.cpu_count()} processors, "
        f"Python {platform.python_version()}, flwr {metadata.version('flwr')}, "
        f"ray {metadata.version('ray')}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every engine and write docs/benchmarks/engines.md and engines.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="rounds per task; there are two")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, engine) in enumerate(ENGINES.items()):
            found[name] = measure(engine, options.rounds, Path(folder) / str(number))
    tables = {one.pop("table") for one in found.values()}
    if len(tables) != 1:
        raise SystemExit("the engines' accuracy tables differ")
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"rounds": options.rounds, "engines": found}, indent=2) + "\n"
    (options.out / "engines.json").write_text(text, encoding="utf-8")
    (options.out / "engines.md").write_text(page(found, options.rounds), encoding="utf-8")


if __name__ == "__main__":
    main()
