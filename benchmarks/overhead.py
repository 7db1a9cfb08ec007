"""Measures what the local engine costs beside a bare PyTorch loop of the same training steps.

    python benchmarks/overhead.py [--alternations 9] [--out docs/benchmarks]

Both sides train the same small models, from the same weights, on the same batches in the same
order, and end with the same weights, bit for bit; the script checks that. The engine's side is
everything between the server's broadcast and the end of the round: messages encoded and decoded,
sums, heads and fusion "none". Nothing is evaluated or saved. Both alternate in one
process; the ratio is the median over the alternations.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from fedbridge.core.rng import seed_for
from fedbridge.federation.local import LocalTransport
from fedbridge.federation.loop import federate, steps
from fedbridge.federation.setup import Setup, build_worker_state, prepare
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.models.small.space import as_input, stored
from fedbridge.server.server import Server

TREE = {
    "name": "overhead",
    "data": {"name": "digits"},
    "scenario": {"clients": 3, "tasks": 2, "classes_per_task": 4},
    "large": {"model": "patches", "size": 16},
    "small": {"models": ["cnn", "mobile", "mixer"]},
    "training": {"rounds": 2, "epochs": 8, "batch": 32},
    "learner": {"name": "finetune"},
    "fusion": {"name": "none"},
    "engine": {"workers": 0, "threads": 1, "device": "cpu"},
}
TARGET = 1.10

States = dict[str, dict[str, torch.Tensor]]
Sides = tuple[Callable[[], None], Callable[[], States]]


def engine(setup: Setup) -> Sides:
    """Return what carries the federation out, and what then tells the models it ends with."""
    config, names = setup.config, tuple(setup.models)
    build = partial(build_worker_state, config, setup.store)
    transport = LocalTransport(build, names, 0, config.engine.threads).__enter__()
    server = Server(setup.shared, setup.models, transport.map_jobs)

    def train() -> None:
        for _ in federate(server, transport, steps(config)):
            pass

    return train, lambda: server.states


def bare(setup: Setup) -> Sides:
    """Return the loop that anybody would write, and what then tells the models it ends with."""
    config, shared = setup.config, setup.shared
    settings = config.training
    models = {name: shared.small_model(kind, name) for name, kind in setup.models.items()}
    data = {}
    for client in setup.streams.clients:
        for number, task in enumerate(client.tasks, start=1):
            inputs = stored(setup.dataset.inputs[task.train])
            labels = torch.from_numpy(setup.dataset.labels[task.train])
            data[client.name, number] = (inputs, labels)

    def train() -> None:
        for task, round_ in steps(config):
            for client in setup.streams.clients:
                model = models[client.name].train()
                seen = sorted(c for t in client.tasks[:task] for c in t.classes)
                classes = torch.tensor(seen)
                anchors = shared.anchors[classes].T * config.small.temperature
                inputs, labels = data[client.name, task]
                targets = torch.searchsorted(classes, labels)
                optimiser = torch.optim.AdamW(
                    model.parameters(),
                    lr=settings.lr,
                    weight_decay=settings.weight_decay,
                    fused=True,
                )
                seed = seed_for(config.seed, "learn", client.name, task, round_)
                generator = torch.Generator().manual_seed(seed)
                for _ in range(settings.epochs):
                    order = torch.randperm(len(inputs), generator=generator)
                    for rows in order.split(settings.batch):
                        if len(rows) > 1:
                            loss = F.cross_entropy(
                                model(as_input(inputs[rows])) @ anchors, targets[rows]
                            )
                            optimiser.zero_grad()
                            loss.backward()
                            optimiser.step()

    return train, lambda: {name: model.state_dict() for name, model in models.items()}


def timed(side: Callable[[Setup], Sides], setup: Setup) -> tuple[float, States]:
    """Return the processor seconds that training takes, preparations left out, and the models."""
    train, result = side(setup)
    start = time.process_time()  # of one thread without waiting: what else runs does not count
    train()
    return time.process_time() - start, result()


def largest_difference(one: States, other: States) -> float:
    """Return by how much any parameter or buffer differs."""
    return max(
        float((state[key].float() - other[name][key].float()).abs().max())
        for name, state in one.items()
        for key in state
    )


def measure(config: Config, alternations: int) -> dict[str, object]:
    """Alternate both sides and return their times, the ratio and what was measured on what."""
    torch.set_num_threads(config.engine.threads)
    setup = prepare(config)
    for side in (bare, engine):
        timed(side, setup)  # the first one loads and allocates
    pairs, difference = [], 0.0
    for number in range(alternations):
        order = (bare, engine) if number % 2 else (engine, bare)
        found = {side.__name__: timed(side, setup) for side in order}
        pairs.append((found["bare"][0], found["engine"][0]))
        difference = max(difference, largest_difference(found["bare"][1], found["engine"][1]))
    ratios = [ours / theirs for theirs, ours in pairs]
    trained = sum(
        -(-len(task.train) // config.training.batch) * config.training.epochs
        for client in setup.streams.clients
        for task in client.tasks
    )
    return {
        "ratio": round(statistics.median(ratios), 4),
        "target": TARGET,
        "ratios": [round(ratio, 4) for ratio in sorted(ratios)],
        "bare_seconds": round(statistics.median(pair[0] for pair in pairs), 4),
        "engine_seconds": round(statistics.median(pair[1] for pair in pairs), 4),
        "training_steps": trained * config.training.rounds,
        "largest_difference_of_weights": difference,
        "alternations": alternations,
        "settings": TREE,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


def as_markdown(found: dict[str, object]) -> str:
    """Return the measurement as a small table."""
    ratio = float(str(found["ratio"]))
    return (
        "<!-- written by benchmarks/overhead.py -->\n\n"
        "| the same training steps | processor seconds |\n"
        "|---|---|\n"
        f"| bare PyTorch loop | {found['bare_seconds']:.2f} |\n"
        f"| fedbridge, local engine | {found['engine_seconds']:.2f} |\n"
        "\n"
        f"Overhead of the local engine: **{100 * (ratio - 1):.1f} %** (target: at most "
        f"{100 * (TARGET - 1):.0f} %), the median of {found['alternations']} alternations of "
        f"{found['training_steps']} steps with learner `finetune`, fusion `none` and no worker "
        f"processes. Both sides end with the same weights (largest difference "
        f"{found['largest_difference_of_weights']:g}). Python {found['python']}, torch "
        f"{found['torch']}, one thread.\n"
    )


def write(path: Path, text: str) -> None:
    partial_ = path.with_name(path.name + ".partial")
    partial_.write_text(text, encoding="utf-8")
    partial_.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alternations", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    args = parser.parse_args()
    found = measure(parse_config(TREE, "overhead"), args.alternations)
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "overhead.json", json.dumps(found, indent=2) + "\n")
    write(args.out / "overhead.md", as_markdown(found))
    print(as_markdown(found))


if __name__ == "__main__":
    main()
