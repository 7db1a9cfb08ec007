"""Jobs in processes: side by side, in order, failing, stopped, begun again."""

import signal
import time

import pytest
from suites import finish

from fedbridge.bench import pool, slot
from fedbridge.bench.grid import log_of
from fedbridge.bench.pool import carry_out, only_bench
from fedbridge.core.errors import UserError
from fedbridge.runs.run import Run, exclusive_lock

EVEN = {"small": [50, 50]}
FAILS = "import sys; print('a\\nerror: no luck', file=sys.stderr); sys.exit(2)"
SILENT = "raise SystemExit(3)"
KILLED = "import os; os.kill(os.getpid(), 9)"
SLEEPS = "import time; time.sleep(600)"
DEAF = """
import signal, sys, time
from pathlib import Path
signal.signal(15, signal.SIG_IGN)
Path(sys.argv[1] + ".deaf").touch()
time.sleep(600)
"""


def last(jobs, slots=2):
    for standing in carry_out(jobs, slots):
        assert len(standing.running) <= slots
    assert not standing.waiting and not standing.running
    return standing


def test_jobs_run_in_their_order_and_leave_no_log(bench, act):
    jobs = bench().jobs()
    started = act({})
    standing = last(jobs, slots=1)
    assert started == [job.name for job in jobs]
    assert [job.name for job, _ in standing.done] == started
    assert standing.failed == [] and all(job.state() == "done" for job in jobs)
    assert not list(jobs[0].folder.parent.glob("*.log"))


def test_a_finished_run_keeps_no_checkpoints(bench, act):
    job = bench().jobs()[0]
    Run.create(job.folder, job.config)
    (job.folder / "checkpoints" / "step-0001").mkdir(parents=True)
    act({})
    last([job])
    assert not (job.folder / "checkpoints").exists()
    assert job.state() == "done"


def test_a_failure_stops_nothing_else_and_is_told(bench, act):
    jobs = bench().jobs()
    names = [job.name for job in jobs]
    act(dict(zip(names, (FAILS, SILENT, KILLED, "pass"), strict=False)))
    standing = last(jobs)
    log = jobs[0].folder.parent / f"{names[0]}.log"
    told = {job.name: reason for job, reason in standing.failed}
    assert told == {
        names[0]: f"no luck; see {log}",
        names[1]: "ended with exit code 3",
        names[2]: f"was ended by SIGKILL (is there enough memory?); see {log_of(jobs[2].folder)}",
        names[3]: "ended with exit code 0",  # it says that all is well, and left no summary
    }
    assert log.read_text() == "a\nerror: no luck\n"
    assert [pool.failure_of(job) for job in jobs[:4]] == [
        "no luck",
        "ended with exit code 3",
        told[names[2]],
        "ended with exit code 0",
    ]
    assert pool.failure_of(jobs[4]) is None
    assert sorted(job.name for job, _ in standing.done) == sorted(names[4:])


def test_what_was_begun_is_gone_on_with_and_what_has_changed_starts_anew(bench, act):
    begun, changed, *_ = bench().jobs()
    Run.create(begun.folder, begun.config)
    (begun.folder / "events.jsonl").write_text('{"time": 1.0, "kind": "kept"}\n')
    finish(changed, EVEN)
    other = changed.config.model_copy(update={"name": "another"})
    (changed.folder / "config.toml").unlink()
    (changed.folder / "summary.json").rename(changed.folder / "old.json")
    Run.create(changed.folder.with_name("elsewhere"), other)
    (changed.folder.with_name("elsewhere") / "config.toml").rename(changed.folder / "config.toml")
    assert (begun.state(), changed.state()) == ("begun", "changed")
    act({})
    last([begun, changed])
    assert (begun.state(), changed.state()) == ("done", "done")
    assert (begun.folder / "events.jsonl").is_file()
    assert not (changed.folder / "old.json").exists()


def test_a_folder_that_was_left_before_it_was_a_run(bench, act):
    job = bench().jobs()[0]
    job.folder.mkdir(parents=True)
    (job.folder / "environment.json").write_text("{}")
    act({})
    assert len(last([job]).done) == 1


def test_a_changed_run_that_is_at_work_is_left_alone(bench, act):
    job = bench().jobs()[0]
    Run.create(job.folder, job.config.model_copy(update={"name": "another"}))
    act({})
    with exclusive_lock(job.folder):
        (failed,) = last([job]).failed
    assert "another process is carrying out this run" in failed[1]
    assert (job.folder / "config.toml").is_file()


def test_closing_ends_all_processes(bench, act, monkeypatch):
    jobs = bench().jobs()
    act({jobs[0].name: SLEEPS, jobs[1].name: DEAF})
    monkeypatch.setattr(pool, "PATIENCE", 0.5)
    processes = []
    start = slot.process_for

    def noted(job):
        processes.append(start(job))
        return processes[-1]

    monkeypatch.setattr(slot, "process_for", noted)
    standings = carry_out(jobs, 2)
    assert len(next(standings).running) == 2
    deaf = jobs[1].folder.with_name(f"{jobs[1].folder.name}.deaf")
    while not deaf.exists():
        assert processes[1].poll() is None
        time.sleep(0.02)
    standings.close()
    assert [one.returncode for one in processes] == [-signal.SIGTERM, -signal.SIGKILL]
    assert all(job.state() == "begun" for job in jobs[:2])


def test_two_benches_cannot_share_a_folder(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    with only_bench(one), only_bench(other), pytest.raises(UserError) as error, only_bench(one):
        pass
    assert str(error.value) == f"{one}: another bench is at work here; let it end first"
    with only_bench(one):
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), only_bench(tmp_path / "file"):
        pass
