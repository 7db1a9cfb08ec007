"""How long jobs should take."""

from types import SimpleNamespace

import pytest
from suites import SUITE, finish, method, write

from fedbridge.bench import timing
from fedbridge.bench.pages import TABLE
from fedbridge.bench.pool import GridStatus
from fedbridge.bench.tables import write_table
from fedbridge.bench.timing import Durations

EVEN = {"small": [50, 50]}
KNOWN = [(("first", "bridge"), 30.0), (("first", "bridge"), 50.0), (("first", "plain"), 60.0)]


def test_what_is_expected_of_a_job(bench):
    bridge, *_, third = bench(SUITE + method("third")).jobs()
    known = Durations(KNOWN)
    assert known.expected(bridge) == 40.0
    assert known.expected(third) == pytest.approx(140 / 3)  # as others on this scenario
    assert Durations().expected(bridge) is None


def test_the_longest_come_first(bench):
    jobs = bench().jobs()
    order = [job.method.name for job in Durations(KNOWN).longest_first(jobs)]
    assert order == ["plain"] * 3 + ["bridge"] * 3
    assert Durations().longest_first(jobs) == jobs


def test_an_earlier_table_is_what_is_known(bench):
    made = bench()
    first, second, *_ = made.jobs()
    finish(first, EVEN, seconds=20.0)
    finish(second, EVEN, seconds=40.0)
    outcomes = [outcome for group in made.grid()["first"] for outcome in group.outcomes]
    write_table(made.results / TABLE, outcomes)
    assert Durations.read(made.results / TABLE).expected(first) == 30.0


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "scenario,method,seconds\nfirst,bridge,long\n"])
def test_a_table_of_another_kind_says_nothing(bench, tmp_path, text):
    job = bench().jobs()[0]
    assert Durations.read(write(tmp_path / "table.csv", text)).expected(job) is None
    assert Durations.read(tmp_path / "absent.csv").expected(job) is None


def test_the_time_left(bench, monkeypatch):
    monkeypatch.setattr(timing, "time", SimpleNamespace(monotonic=lambda: 100.0))
    jobs = bench().jobs()  # three of 40 seconds, three of 60
    known = Durations(KNOWN)
    assert known.left(GridStatus(jobs), 3) == pytest.approx(100.0)
    assert known.left(GridStatus(jobs[:1]), 3) == pytest.approx(40.0)
    assert known.left(GridStatus([jobs[0], jobs[-1]]), 3) == pytest.approx(60.0)  # the longer one
    running = {jobs[0].name: (jobs[0], 70.0)}
    assert known.left(GridStatus(jobs[1:2], running), 1) == pytest.approx(50.0)
    assert Durations().left(GridStatus(jobs), 1) is None
    assert known.left(GridStatus([]), 1) is None
