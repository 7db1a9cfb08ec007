"""A bench from Python: what is to do, doing it, and the summary."""

import pytest
from suites import climbing, finish

import fedbridge
from fedbridge.bench import console
from fedbridge.core.errors import UserError

EVEN = {"small": [50, 60]}
FAILS = "import sys; print('error: no luck', file=sys.stderr); sys.exit(2)"


@pytest.fixture
def made(bench, monkeypatch):
    monkeypatch.setattr(console, "make_ready", lambda path, jobs, tell: [])
    return bench()


def asked(made, only="*"):
    return fedbridge.Bench(made.path, made.results.parent, only)


def test_it_says_what_is_to_do(made):
    finish(made.jobs()[0], EVEN)
    grid = asked(made, "*bridge*")
    assert [(job.name, job.state()) for job, _ in grid.plan()] == [
        ("first--bridge--1", "done"),
        ("first--bridge--2", "new"),
        ("first--bridge--3", "new"),
    ]
    assert grid.has_results and grid.folder == made.results


def test_it_runs_what_is_left_and_returns_what_failed(made, act, capsys):
    first, second, *rest = made.jobs()
    finish(first, EVEN)
    finish(second, EVEN)
    started = act({job.name: FAILS for job in rest})
    failed = asked(made).run(at_once=1)
    assert started == [job.name for job in rest]
    assert [(job.name, reason) for job, reason in failed] == [(j.name, "no luck") for j in rest]
    assert capsys.readouterr() == ("", "")


def test_it_writes_the_summary_of_what_there_is(made):
    grid = asked(made)
    assert not grid.has_results
    with pytest.raises(UserError, match="no run of this suite is finished"):
        grid.report()
    made.finish("bridge", *climbing(small=[50, 60]))
    page = grid.report()
    assert page == made.results / "summary.md" and "bridge" in page.read_text(encoding="utf-8")
    assert (made.results / "table.csv").is_file()


def test_a_pattern_that_fits_nothing_is_refused(made):
    with pytest.raises(UserError, match=r"^only: must fit a run such as first--bridge--1, found"):
        asked(made, "nothing*")
