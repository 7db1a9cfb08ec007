"""Run a grid of configs, variants and seeds, resume it, and write its table and its page.

    python benchmarks/quality.py benchmarks/quality.toml --jobs 2 [--only "fonts*"]

Runs are kept in ``results/<suite>/runs``; what is done is skipped, what was cut off resumes.
Writes ``results/<suite>/table.csv`` and ``docs/<suite>.md``.
"""

import argparse
import csv
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METRICS = (
    "final_accuracy",
    "average_incremental_accuracy",
    "forgetting",
    "backward_transfer",
    "forward_transfer",
    "temporal_retention",
)
CLASS_INCREMENTAL = "class-incremental"


@dataclass(frozen=True)
class Job:
    """One run of the grid."""

    config: Path
    variant: str
    overrides: tuple[str, ...]
    seed: int
    results: Path

    @property
    def folder(self) -> Path:
        name = f"{self.config.stem}--{self.variant}--{self.seed}".replace(" ", "-")
        return self.results / "runs" / name

    def summary(self) -> dict[str, Any] | None:
        path = self.folder / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None


def jobs_of(suite: Path, results: Path) -> list[Job]:
    jobs = []
    for grid in tomllib.loads(suite.read_text())["grid"]:
        for seed in grid["seeds"]:
            for variant, overrides in grid["variants"].items():
                config = suite.parent / grid["config"]
                jobs.append(Job(config, variant, tuple(overrides), seed, results))
    return jobs


def carry_out(job: Job) -> str:
    if job.summary() is None:
        command = [sys.executable, "-m", "fedbridge.cli"]
        if (job.folder / "config.toml").exists():
            command += ["resume", str(job.folder), "--quiet"]
        else:
            sets = (*job.overrides, f"seed={job.seed}", f"name={job.variant}", "engine.workers=0")
            command += ["run", str(job.config), "--out", str(job.folder), "--quiet"]
            command += [part for item in sets for part in ("--set", item)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}  # runs go side by side
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{job.folder.name}: FAILED: {done.stderr.strip()[-500:]}"
    results = (job.summary() or {})["results"]
    finals = {p: r[CLASS_INCREMENTAL]["final_accuracy"] for p, r in results.items()}
    return f"{job.folder.name}: " + " ".join(f"{p} {a:.3f}" for p, a in finals.items())


def write_table(jobs: list[Job], path: Path) -> None:
    header = ["config", "variant", "seed", "predictor", "protocol", *METRICS]
    rows: list[list[Any]] = [[*header, "bytes_up", "bytes_down", "seconds", "peak_memory_mib"]]
    for job in jobs:
        summary = job.summary()
        for predictor, protocols in (summary or {"results": {}})["results"].items():
            for protocol, metrics in protocols.items():
                place = [job.config.stem, job.variant, job.seed, predictor, protocol]
                traffic = [summary["bytes_up"], summary["bytes_down"]]
                seconds = round(sum(summary["seconds"].values()), 1)
                values = [metrics[m] for m in METRICS]
                rows.append([*place, *values, *traffic, seconds, summary["peak_memory_mib"]])
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    partial.replace(path)


def write_page(jobs: list[Job], path: Path) -> None:
    """Write a Markdown table per config: mean and standard deviation over seeds, in percent."""
    lines = [
        "# Results",
        "",
        "Written by `benchmarks/quality.py`; do not edit. Class-incremental, in percent, mean ± "
        "sample standard deviation over seeds (in brackets, their number). `small`, `large` and "
        "`together` are final accuracies. Seconds are of runs side by side on a busy machine: an "
        "upper bound, not a comparison.",
        "",
    ]
    for config in dict.fromkeys(job.config.stem for job in jobs):
        lines += [
            f"## {config}",
            "",
            "| variant | small | forgetting of small | large | together "
            "| forward transfer of small | MB up | seconds |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for variant in dict.fromkeys(j.variant for j in jobs if j.config.stem == config):
            found = [j.summary() for j in jobs if (j.config.stem, j.variant) == (config, variant)]
            done = [s for s in found if s is not None]
            if done:
                lines.append(_line(variant, done))
        lines.append("")
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(lines), encoding="utf-8")
    partial.replace(path)


def _line(variant: str, done: list[dict[str, Any]]) -> str:
    def metric(predictor: str, name: str) -> list[float]:
        return [100 * s["results"][predictor][CLASS_INCREMENTAL][name] for s in done]

    cells = [
        _spread(metric("small", "final_accuracy")),
        _spread(metric("small", "forgetting")),
        _spread(metric("large", "final_accuracy")),
        _spread(metric("together", "final_accuracy")),
        _spread(metric("small", "forward_transfer")),
        f"{statistics.mean(s['bytes_up'] for s in done) / 1e6:.0f}",
        f"{statistics.mean(sum(s['seconds'].values()) for s in done):.0f}",
    ]
    return f"| {variant} ({len(done)}) | " + " | ".join(cells) + " |"


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="*", help="pattern of run names")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    args = parser.parse_args()
    results = Path("results") / args.suite.stem
    results.mkdir(parents=True, exist_ok=True)
    jobs = jobs_of(args.suite, results)
    chosen = [job for job in jobs if fnmatch.fnmatch(job.folder.name, args.only)]
    with ThreadPoolExecutor(args.jobs) as pool:
        for line in pool.map(carry_out, chosen):
            print(line, flush=True)
    write_table(jobs, results / "table.csv")
    write_page(jobs, args.page)


if __name__ == "__main__":
    main()
