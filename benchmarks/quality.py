"""Runs a grid of variants and seeds in parallel processes, resumes it, and writes its table.

    python benchmarks/quality.py SUITE.toml --out results/SUITE [--jobs 2] [--only PATTERN]

A suite names a base config, seeds, and variants as overrides; what is done is skipped.
"""

import argparse
import csv
import fnmatch
import json
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

METRICS = ("final_accuracy", "average_incremental_accuracy", "forgetting",
           "backward_transfer", "forward_transfer", "temporal_retention")


def jobs_of(suite: Path) -> list[dict]:
    tree = tomllib.loads(suite.read_text())
    jobs = []
    for base in tree["bases"]:
        for variant, overrides in tree["variants"].items():
            for seed in tree["seeds"]:
                sets = [*overrides, *tree.get("common", []), f"seed={seed}"]
                config = suite.parent / base
                jobs.append(dict(base=Path(base).stem, variant=variant, seed=seed,
                                 config=config, sets=sets))
    return jobs


def carry_out(job: dict, out: Path) -> str:
    folder = out / "runs" / f"{job['base']}--{job['variant']}--{job['seed']}"
    if (folder / "summary.json").exists():
        return f"{folder.name}: done before"
    command = [sys.executable, "-m", "fedbridge.cli"]
    if (folder / "config.toml").exists():
        command += ["resume", str(folder), "--quiet"]
    else:
        command += ["run", str(job["config"]), "--out", str(folder), "--quiet"]
        for item in job["sets"]:
            command += ["--set", item]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        return f"{folder.name}: FAILED {done.stderr.strip()[-600:]}"
    results = json.loads((folder / "summary.json").read_text())["results"]
    line = " ".join(
        f"{p} {r['class-incremental']['final_accuracy']:.3f}" for p, r in results.items()
    )
    return f"{folder.name}: {line} forgetting {results['small']['class-incremental']['forgetting']:.3f}"


def write_table(jobs: list[dict], out: Path) -> None:
    rows = []
    for job in jobs:
        path = out / "runs" / f"{job['base']}--{job['variant']}--{job['seed']}" / "summary.json"
        if not path.exists():
            continue
        summary = json.loads(path.read_text())
        for predictor, protocols in summary["results"].items():
            for protocol, metrics in protocols.items():
                rows.append([job["base"], job["variant"], job["seed"], predictor, protocol,
                             *(metrics.get(m) for m in METRICS), summary["bytes_up"],
                             summary["bytes_down"], round(sum(summary["seconds"].values()), 1)])
    partial = out / "table.csv.partial"
    with partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["config", "variant", "seed", "predictor", "protocol", *METRICS,
                         "bytes_up", "bytes_down", "seconds"])
        writer.writerows(rows)
    partial.replace(out / "table.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="*")
    args = parser.parse_args()
    jobs = [j for j in jobs_of(args.suite)
            if fnmatch.fnmatch(f"{j['base']}--{j['variant']}--{j['seed']}", args.only)]
    args.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        for line in pool.map(lambda job: carry_out(job, args.out), jobs):
            print(line, flush=True)
    write_table(jobs_of(args.suite), args.out)


if __name__ == "__main__":
    main()
