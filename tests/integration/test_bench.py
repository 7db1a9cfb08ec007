"""The suite ``smoke`` as it is shipped: stopped, killed, gone on with, and nothing is mixed up."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tiny_runs import conduct, left_over, table

from fedbridge.bench import Job, jobs_of, load_suite, write_results
from fedbridge.bench import run_suite as conduct_all

SMOKE = Path(__file__).resolve().parents[2] / "configs" / "suites" / "smoke.toml"


def start(out: Path, **environment: str) -> "subprocess.Popen[str]":
    arguments = ["bench", str(SMOKE), "--out", str(out), "--jobs", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "fedbridge.cli.main", *arguments],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        start_new_session=True,  # Ctrl-C of a test session is not meant for it
    )


def at_work(results: Path) -> list[int]:
    """Return the ids of the processes that are carrying out a run of these results."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"fedbridge.bench.job" in words and os.fsencode(results) in b"".join(words):
            found.append(int(process.name))
    return found


def wait_until(condition: Callable[[], bool], patience: float = 120.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a bench that was asked to stop, then killed, then left in peace."""
    out = tmp_path_factory.mktemp("results")
    jobs = jobs_of(SMOKE, load_suite(SMOKE), out / "smoke")

    asked = start(out)
    wait_until(lambda: any((job.folder / "accuracy.csv").is_file() for job in jobs))
    asked.send_signal(signal.SIGTERM)
    _, complaint = asked.communicate(timeout=60)
    assert asked.returncode == 130, complaint
    assert complaint == "stopped; the same command continues\n"
    assert at_work(out) == []

    killed = start(out)
    wait_until(lambda: sum(job.state() == "done" for job in jobs) >= 2 and len(at_work(out)) == 4)
    killed.kill()
    killed.communicate(timeout=60)
    wait_until(lambda: at_work(out) == [])

    temporary = out / "temporary"
    temporary.mkdir()
    last = start(out, TMPDIR=str(temporary))
    said, complaint = last.communicate(timeout=240)
    assert last.returncode == 0, complaint
    assert "done; " in said and complaint == ""
    assert list(temporary.iterdir()) == []
    return out / "smoke"


@pytest.fixture(scope="module")
def jobs(results: Path) -> list[Job]:
    return jobs_of(SMOKE, load_suite(SMOKE), results)


def test_every_run_is_there_once(results, jobs):
    assert all(job.state() == "done" for job in jobs)
    with (results / "table.csv").open(newline="") as file:
        lines = [(line["method"], line["seed"], line["predictor"]) for line in csv.DictReader(file)]
    assert len(lines) == len(jobs) * 3 * 2
    assert len(set(lines)) == len(jobs) * 3
    assert f"All {len(jobs)} runs are finished." in (results / "summary.md").read_text()


def test_nothing_is_left_over(results, jobs):
    assert left_over(results) == []
    assert not list(results.rglob("checkpoints"))
    runs = {path.name for path in (results / "runs").iterdir()}
    assert runs == {".lock", *(job.name for job in jobs)}


def test_a_run_of_the_bench_is_as_any_other(jobs, tmp_path):
    job = jobs[0]
    assert conduct(tmp_path / "run", job.config) == table(job.folder)


def test_done_is_done(results, jobs):
    before = {path.name: path.read_bytes() for path in results.iterdir() if path.is_file()}
    console = Console(file=io.StringIO())
    assert conduct_all(console, SMOKE, jobs, results, 2) == []
    assert console.file.getvalue() == f"{len(jobs)} done\n"
    write_results(results, jobs)
    assert before == {path.name: path.read_bytes() for path in results.iterdir() if path.is_file()}
