"""The process that carries out jobs one after another: kept, of one thread, never left over."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedbridge.bench import slot
from fedbridge.bench.grid import log_of
from fedbridge.bench.slot import Slot
from fedbridge.runs.run import Run

STATE = """
import os, sys
import fedbridge.bench.job, torch
print(len(os.listdir('/proc/self/task')), torch.cuda.is_initialized(), torch.get_num_threads())
"""
ELSEWHERE = """
import sys
from pathlib import Path
from fedbridge.bench.job import main
sys.platform = "darwin"
sys.exit(main(Path(sys.argv[1])))
"""


@pytest.fixture
def place():
    """Return a slot whose process ends with the test."""
    one = Slot()
    yield one
    one.end()


@pytest.fixture
def processes(monkeypatch):
    """Return the processes that slots have started so far."""
    started = []
    start = slot.process_for
    monkeypatch.setattr(slot, "process_for", lambda job: started.append(start(job)) or started[-1])
    return started


@pytest.fixture
def jobs(bench):
    """Return jobs whose folders are there; what lies in them is no run."""
    jobs = bench().jobs()
    for job in jobs:
        job.folder.mkdir(parents=True)
    return jobs


def code_of(place: Slot, patience: float = 60.0) -> int:
    deadline = time.monotonic() + patience
    while (code := place.code()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return code


def of_session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            _, _, rest = (place / "stat").read_text().rpartition(")")
        except OSError:
            continue
        state, _, _, session, *_ = rest.split()
        if int(session) == leader and state != "Z":
            found.append(int(place.name))
    return found


def wait_for_child(leader: int, patience: float = 60.0) -> int:
    deadline = time.monotonic() + patience
    while len(there := of_session(leader)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (child,) = set(there) - {leader}
    return child


def test_what_is_imported_may_be_forked():
    environment = os.environ | dict.fromkeys(slot.THREADS, "1")
    said = subprocess.run(
        [sys.executable, "-c", STATE], env=environment, capture_output=True, check=True
    )
    assert said.stdout.split() == [b"1", b"False", b"1"]  # one thread, no device, one for torch


def test_one_process_carries_out_job_after_job(jobs, place, processes):
    for job in jobs[:3]:
        place.start(job)
        assert code_of(place) == 2
        (line,) = log_of(job.folder).read_text().splitlines()
        assert line.startswith("error: ") and str(job.folder) in line
    (process,) = processes
    assert of_session(process.pid) == [process.pid]
    place.end()
    assert of_session(process.pid) == []


def test_where_forking_is_not_safe_every_job_has_a_new_process(jobs, place, monkeypatch):
    started = []

    def elsewhere(job):
        with log_of(job.folder).open("ab") as log:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", ELSEWHERE, str(job.folder.parent)],
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            )
        return started[-1]

    monkeypatch.setattr(slot, "process_for", elsewhere)
    for job in jobs[:2]:
        place.start(job)
        assert code_of(place) == 2
        assert log_of(job.folder).read_text().startswith("error: ")
    assert [process.returncode for process in started] == [2, 2]


def test_a_job_that_is_killed_leaves_the_process_to_the_next(jobs, place, processes):
    job, other = jobs[:2]
    job.folder.rmdir()
    Run.create(job.folder, job.config)
    place.start(job)
    os.kill(wait_for_child(processes[0].pid), signal.SIGKILL)
    assert code_of(place) == -signal.SIGKILL
    place.start(other)
    assert code_of(place) == 2 and len(processes) == 1


def test_a_process_that_is_gone_is_replaced(jobs, place, processes):
    place.start(jobs[0])
    assert code_of(place) == 2
    processes[0].kill()
    processes[0].wait()
    place.start(jobs[1])
    assert code_of(place) == -signal.SIGKILL
    place.start(jobs[2])
    assert code_of(place) == 2 and len(processes) == 2


def test_a_wish_to_end_reaches_the_job(jobs, place, processes):
    job = jobs[0]
    job.folder.rmdir()
    Run.create(job.folder, job.config)
    place.start(job)
    wait_for_child(processes[0].pid)
    place.ask_to_end()
    assert code_of(place) in (130, -signal.SIGTERM)  # the latter before it listens
    assert job.state() == "begun"


def test_a_job_has_one_thread_and_ends_with_us(jobs, processes):
    job = jobs[0]
    job.folder.rmdir()
    Run.create(job.folder, job.config)
    place = Slot()
    place.start(job)
    (process,) = processes
    try:
        wait_for_child(process.pid)
        words = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        assert b"OMP_NUM_THREADS=1" in words
        assert os.getsid(process.pid) != os.getsid(0)
        process.stdin.close()  # as if we were gone
        process.wait(60)
        assert of_session(process.pid) == []
    finally:
        place.end()
    assert job.state() == "begun"
