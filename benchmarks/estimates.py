"""Measures how near `fedbridge check` comes to the runs that it speaks of.

    python benchmarks/estimates.py [CONFIG ...] [--out docs/benchmarks]

Each config is estimated and then run on this machine, in processes of their own and without worker
processes, so that processor seconds can be compared: what else runs hardly counts. Prepared data
and embeddings are those of the cache; warm starts are carried out anew. What a run's estimate
leaves out (starting, loading, saving) is left out here. Measured configs are kept from one call to
the next.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from fedbridge.core.store import cache_folder
from fedbridge.federation import local
from fedbridge.methods.files import load_config
from fedbridge.runs import runner
from fedbridge.runs.estimate import estimate
from fedbridge.runs.run import Run

CONFIGS = ("digits", "quickstart", "emoji", "wordnet", "fashion", "annotations", "fonts")
PHASES = {"learn": "learn", "fuse": "fuse", "evaluate": "evaluate", "warm up": "warm"}
TARGET = 0.30


def estimated(path: Path) -> dict[str, Any]:
    """Return what is estimated of a run, and what estimating costs."""
    start = time.process_time()
    found = estimate(load_config(path, ["engine.workers=0"]), clock=time.process_time)
    return {
        "seconds": found.seconds,
        "bytes_up": found.bytes_up,
        "bytes_down": found.bytes_down,
        "memory_mib": found.memory_mib,
        "cost": time.process_time() - start,
    }


def carried_out(path: Path) -> dict[str, Any]:
    """Return the same of the run itself."""
    clock = SimpleNamespace(monotonic=time.process_time)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(runner, "time", clock),
        mock.patch.object(local, "time", clock),
    ):
        run = Run.create(Path(folder) / "run", load_config(path, ["engine.workers=0"]))
        for _ in runner.Experiment(run).run_steps():
            pass
        summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    return {
        "seconds": {name: summary["seconds"].get(key, 0.0) for name, key in PHASES.items()},
        "bytes_up": summary["bytes_up"],
        "bytes_down": summary["bytes_down"],
        "memory_mib": summary["peak_memory_mib"],
    }


def apart(function: Callable[[Path], dict[str, Any]], path: Path) -> dict[str, Any]:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, path).result()


@contextmanager
def without_warm_starts() -> Iterator[None]:
    """Use the cache, but for warm starts."""
    with tempfile.TemporaryDirectory() as folder:
        for known in cache_folder().iterdir():
            if known.name != "warm":
                (Path(folder) / known.name).symlink_to(known)
        with mock.patch.dict(os.environ, FEDBRIDGE_CACHE=folder):
            yield


def measure(path: Path) -> dict[str, Any]:
    """Estimate a config and run it, one after the other."""
    found = {}
    for name, function in (("estimate", estimated), ("run", carried_out)):
        with without_warm_starts():
            found[name] = apart(function, path)
    return found


def as_markdown(found: dict[str, dict[str, Any]]) -> str:
    """Return estimates beside runs as a table."""
    rows = []
    for name, one in found.items():
        told, took = one["estimate"], one["run"]
        by_phase = [f"{told['seconds'].get(p, 0):.1f} / {took['seconds'][p]:.1f}" for p in PHASES]
        sums = [sum(side["seconds"].get(p, 0.0) for p in PHASES) for side in (told, took)]
        equal = all(abs(told[way] / took[way] - 1) < 1e-5 for way in ("bytes_up", "bytes_down"))
        cells = (
            *by_phase,
            f"{sums[0]:.0f} / {sums[1]:.0f}",
            f"**{sums[0] / sums[1]:.2f}**",
            "equal" if equal else f"{told['bytes_up'] / took['bytes_up']:.4f}",
            f"{told['memory_mib'] / took['memory_mib']:.2f}",
            f"{told['cost']:.0f} s",
        )
        rows.append(f"| {name} | {' | '.join(cells)} |")
    heads = (*PHASES, "all", "ratio", "bytes", "memory", "cost of estimating")
    return (
        "<!-- written by benchmarks/estimates.py -->\n\n"
        f"| config | {' | '.join(heads)} |\n"
        f"|---{'|---' * len(heads)}|\n" + "\n".join(rows) + "\n\n"
        "Processor seconds, estimated / taken by the run, one process, one thread, embeddings in "
        f"the cache (target: within {100 * TARGET:.0f} % in all); memory as a ratio. Another "
        "process on the same core makes both sides slower, so single figures are good for about "
        "10 %.\n"
    )


def write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=CONFIGS, help="names in configs/")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "estimates.json"
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for name in args.configs:
        found[name] = measure(Path("configs") / f"{name}.toml")
        write(kept, json.dumps(found, indent=2) + "\n")
        write(args.out / "estimates.md", as_markdown(found))
    print(as_markdown(found))


if __name__ == "__main__":
    main()
