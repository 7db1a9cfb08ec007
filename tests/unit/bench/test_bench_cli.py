"""The command: what it says, what it writes, and how it ends."""

import sys

import pytest
from suites import climbing, finish, write

from fedbridge.bench import console
from fedbridge.cli import main as cli
from fedbridge.runs.run import Run

EVEN = {"small": [50, 60]}
FAILS = "import sys; print('error: no luck', file=sys.stderr); sys.exit(2)"


@pytest.fixture
def made(bench, monkeypatch):
    """A suite of two methods and three seeds in the folder we are in."""
    made = bench()
    monkeypatch.chdir(made.path.parent)
    monkeypatch.setattr(console, "make_ready", lambda path, jobs, tell: [])
    return made


@pytest.fixture
def call(made, monkeypatch, capsys):
    """Call ``fedbridge bench`` on it; return code, output and complaint."""

    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedbridge", "bench", "grid.toml", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return called


def test_dry_run_says_what_is_to_do_and_does_nothing(made, call):
    done, begun, changed, *_ = made.jobs()
    finish(done, EVEN)
    Run.create(begun.folder, begun.config)
    Run.create(changed.folder, changed.config.model_copy(update={"name": "another"}))
    code, out, err = call("--dry-run", "--only", "*bridge*")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "first--bridge--1: done",
        "first--bridge--2: to be gone on with",
        "first--bridge--3: settings have changed, to be run anew",
    ]
    assert begun.state() == "begun" and changed.state() == "changed"


def test_report_only_writes_what_there_is(made, call, act):
    started = act({})
    made.finish("bridge", *climbing(small=[50, 60]))
    code, out, err = call("--report-only")
    assert (code, out, err) == (0, "summary: results/grid/summary.md\n", "")
    assert "bridge" in (made.results / "summary.md").read_text()
    assert started == []


def test_results_may_lie_elsewhere(made, call):
    code, _, err = call("--report-only", "--out", "else/where")
    assert code == 2
    assert err.startswith("error: else/where/grid: no run of this suite is finished")


def test_what_is_done_is_skipped_and_what_has_changed_is_said(made, call, act):
    done, changed, *rest = made.jobs()
    finish(done, EVEN)
    log = write(done.folder.with_name(f"{done.name}.log"), "of a bench that was killed\n")
    finish(changed, EVEN)
    write(changed.folder / "config.toml", 'name = "another"\n')
    started = act({job.name: FAILS for job in (changed, *rest)})
    code, out, err = call("--jobs", "1")
    assert started == [changed.name, *(job.name for job in rest)]
    assert f"{changed.name}: its settings have changed since; it is run anew" in out
    assert "1 done; 1 settings have changed, to be run anew; 4 to be run" in out
    assert code == 1
    assert [line for line in err.splitlines() if line.startswith("failed: ")] == [
        f"failed: {job.name}: no luck" for job in (changed, *rest)
    ]
    assert not log.exists()
    # what came of other settings is gone, what is done is reported
    assert changed.state() == "begun"
    assert "bridge (1 of 3)" in (made.results / "summary.md").read_text()


def test_what_lacks_its_data_fails_and_the_rest_goes_on(made, call, act, monkeypatch):
    jobs = made.jobs()
    reason = "data.name: the hub cannot be reached for a/b"
    monkeypatch.setattr(console, "make_ready", lambda *_: [(job, reason) for job in jobs[:3]])
    for job in jobs[4:]:
        finish(job, EVEN)
    started = act({jobs[3].name: FAILS})
    code, _, err = call("--jobs", "1")
    assert (code, started) == (1, [jobs[3].name])
    told = {job.name: reason for job in jobs[:3]} | {jobs[3].name: "no luck"}
    assert err.splitlines() == [f"failed: {name}: {why}" for name, why in told.items()]
    page = made.results / "summary.md"
    for name, why in told.items():
        assert f"\n| {name} | {why} |\n" in page.read_text()
    before = page.read_bytes()
    assert call("--report-only")[0] == 0 and page.read_bytes() == before
    # once it has succeeded nothing is told of it
    monkeypatch.setattr(console, "make_ready", lambda *_: [])
    act({job.name: FAILS for job in jobs[1:4]})
    finish(jobs[0], EVEN)
    assert call("--jobs", "1")[0] == 1
    assert jobs[0].name not in page.read_text() and f"{jobs[1].name} | no luck" in page.read_text()


def test_a_finished_run_that_cannot_be_read_stops_no_other(made, call, act):
    first, *rest = made.jobs()
    started = act({job.name: FAILS for job in rest})  # the first writes an empty summary
    code, out, err = call("--jobs", "1")
    assert len(started) == 6 and code == 2
    assert f"{first.folder.relative_to(made.path.parent)}/summary.json: method: Field" in out
    line, page = err.splitlines()[-2:]
    assert line.startswith("error: results/grid/runs/first--bridge--1/summary.json")
    assert page == "see docs/troubleshooting.md#damaged-files"


def test_a_pattern_that_fits_nothing(call):
    code, _, err = call("--only", "nothing*")
    assert code == 2
    assert err.startswith(
        "error: only: must fit a run such as first--bridge--1, found 'nothing*'\n"
    )


def test_a_suite_that_is_wrong(made, call):
    write(made.path, made.path.read_text().replace("plain", "bridge"))
    code, _, err = call()
    assert code == 2
    assert "error: grid.toml: method: every name must be there once" in err
