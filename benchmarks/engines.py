"""Measures what a round costs with each engine beside what it takes to learn.

    python benchmarks/engines.py [--rounds 10] [--exchanges 5] [--out docs/benchmarks]

Three clients with a model of some megabytes take one training step each per round, so that a
round is next to nothing but the engine: messages encoded, carried, decoded, states written. All
engines must end with the same accuracy table, byte for byte; the script checks that. The local
engine hosts clients in this process or in two workers; the simulation is Flower's, with two
workers; the deployment is a SuperLink behind its gate and three SuperNodes over TLS with keys, as
``fedbridge deploy init`` writes them, all on this machine. Time per round is the median of the
rounds after the first; all else is what a whole run takes beyond its rounds.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.runs.launch import engine_of
from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "integration")]
from deployed_sites import CLIENTS, deployed  # noqa: E402 - what the tests start is measured here

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
DEPLOYMENT = "Flower deployment, on loopback"


def settings(rounds: int, **engine: Any) -> Config:
    """Return the settings of a run of so many rounds per task."""
    training = TREE["training"] | {"rounds": rounds}
    return parse_config(TREE | {"engine": engine | {"device": "cpu"}, "training": training}, "")


def measure(config: Config, folder: Path) -> dict[str, Any]:
    """Carry out a run; return its seconds, the megabytes of a round, and its table."""
    run = Run.create(folder, config)
    start = time.monotonic()
    for _ in Experiment(run, connect=engine_of(run.config)(run)).run_steps():
        pass
    return found_in(run, time.monotonic() - start)


def measure_deployed(config: Config, base: Path) -> dict[str, Any]:
    """Carry out a run over a deployment; what is started before the run does not count."""
    base.mkdir()
    with deployed(base, config) as deployment:
        deployment.start_clients(*CLIENTS)
        start = time.monotonic()
        folder = deployment.start_run("measured")
        deployment.wait_for_end(folder)
        return found_in(Run.open(folder), time.monotonic() - start)


def found_in(run: Run, total: float) -> dict[str, Any]:
    """Return what is measured of a run that took so many seconds."""
    events = [e for e in run.events() if e["kind"] == "round"]
    each = [e["seconds"] for e in events]
    return {
        "rounds": len(each),
        "round": statistics.median(each[1:]),
        "start": total - sum(each),
        "megabytes": statistics.median(e["bytes_up"] + e["bytes_down"] for e in events) / 1e6,
        "table": (run.folder / "accuracy.csv").read_bytes(),
    }


def page(found: dict[str, dict[str, Any]], load: float) -> str:
    """Return the results as a Markdown table; ``load`` is how busy the machine was with others."""
    lines = ["<!-- written by benchmarks/engines.py -->", ""]
    lines += ["| engine | rounds | a round | all else |", "|---|---|---|---|"]
    for name, one in found.items():
        lines += [f"| {name} | {one['rounds']} | {one['round']:.2f} s | {one['start']:.1f} s |"]
    megabytes = next(iter(found.values()))["megabytes"]
    lines += [
        "",
        f"Three clients, rounds of one training step, {megabytes:.1f} MB per round; median round; "
        f"all else is preparation, start-up, evaluation and the end. The accuracy tables of runs "
        f"with equally many rounds are the same, byte for byte. {os.cpu_count()} processors, "
        f"load average {load:.1f} before the first run, "
        f"Python {platform.python_version()}, flwr {metadata.version('flwr')}, "
        f"ray {metadata.version('ray')}.",
    ]
    return "\n".join(lines) + "\n"


def require_equal(*found: dict[str, Any]) -> None:
    """Take the tables out of results; end the program if they differ."""
    if len({one.pop("table") for one in found}) != 1:
        raise SystemExit("the engines' accuracy tables differ")


def main() -> None:
    """Measure every engine and write docs/benchmarks/engines.md and engines.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="rounds per task; there are two")
    parser.add_argument("--exchanges", type=int, default=5, help="the same, of the deployment")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    load, found = os.getloadavg()[0], dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, engine) in enumerate(ENGINES.items()):
            found[name] = measure(settings(options.rounds, **engine), Path(folder) / str(number))
        require_equal(*found.values())
        few = settings(options.exchanges, kind="local", workers=0)
        found[DEPLOYMENT] = measure_deployed(few, Path(folder) / "deployed")
        require_equal(found[DEPLOYMENT], measure(few, Path(folder) / "few"))
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"load": load, "engines": found}, indent=2) + "\n"
    (options.out / "engines.json").write_text(text, encoding="utf-8")
    (options.out / "engines.md").write_text(page(found, load), encoding="utf-8")


if __name__ == "__main__":
    main()
