import io

import pytest
from rich.console import Console

from fedbridge.core.metrics import PREDICTORS, AccuracyRow
from fedbridge.methods.files import parse_config
from fedbridge.runs.live.picture import picture
from fedbridge.runs.live.standing import RunStatus, Seat
from fedbridge.runs.progress import Progress
from fedbridge.wire import Step


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def standing(clock):
    tree = {"name": "[b]x[/b]", "scenario": {"clients": 2, "tasks": 2}, "training": {"rounds": 2}}
    found = RunStatus(parse_config(tree, "t"), clock)
    found.seats = {"a": Seat(), "b": Seat()}
    return found


def rows(client, right):
    return [AccuracyRow(client, 1, 1, p, "class-incremental", right, 10) for p in PREDICTORS]


def progress(done, rows=()):
    task, round_ = (done + 1) // 2, 2 - done % 2
    return Progress(Step(task, round_), done, 4, list(rows), 2048, 1024, 0)


def text(standing, height=40, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(picture(standing, height))
    return console.file.getvalue()


def lines(standing, **room):
    return [" ".join(line.split()) for line in text(standing, **room).splitlines()]


def test_time_left_is_that_of_this_sessions_steps(standing, clock):
    clock.now += 50  # preparing is no measure of speed
    assert standing.left() is None
    standing.learn(Step(1, 1), ["a", "b"])
    clock.now += 10
    standing.advance(progress(1))
    assert standing.left() == 30.0  # three steps of ten seconds
    clock.now += 4
    assert standing.left() == 26.0
    clock.now += 100
    assert standing.left() == 0.0
    assert standing.elapsed == 164.0


def test_a_resumed_run_counts_its_own_steps_only(standing, clock):
    standing.learn(Step(2, 1), ["a"])
    clock.now += 8
    standing.advance(progress(3))  # two were done by another session
    assert standing.left() == 8.0


def test_a_round_as_it_goes(standing):
    standing.encode(3, 9)
    assert "now: the FM encodes: 3 of 9 items, 33 %" in lines(standing)
    standing.encode(9, 9)
    assert "now: preparing" in lines(standing)
    standing.learn(Step(1, 2), ["a"])
    assert "now: learn: 0 of 1 clients, 0 %" in lines(standing)
    assert any(line.startswith("task 1/2 round 2/2") for line in lines(standing))
    assert [seat.doing for seat in standing.seats.values()] == ["learning", "away"]
    standing.uploaded("a", 1)
    assert "now: learn: 1 of 1 clients, 100 %" in lines(standing)
    assert "a 1 uploaded – – –" in lines(standing)
    standing.fuse()
    assert "now: fuse" in lines(standing)


def test_who_does_not_answer_is_said(standing):
    standing.learn(Step(1, 1), ["a", "b"])
    standing.uploaded("b", 1)
    standing.fuse()
    assert {name: seat.doing for name, seat in standing.seats.items()} == {
        "a": "no answer",
        "b": "uploaded",
    }


def test_accuracy_so_far_bytes_and_faults(standing):
    events = [
        {"kind": "round", "task": 1, "round": 1},
        {"kind": "absent", "client": "b", "exchange": 1, "reason": "no answer within 2 s"},
    ]
    standing.advance(progress(2, rows("a", 8) + rows("b", 5)), events)
    shown = lines(standing)
    assert "a – waiting 80.0 80.0 80.0" in shown and "b – waiting 50.0 50.0 50.0" in shown
    assert "all 65.0 % 65.0 % 65.0 %" in shown
    assert "2.0 KiB up, 1.0 KiB down" in shown
    assert "! b, absent: no answer within 2 s" in shown


def test_names_are_not_markup(standing):
    standing.seats = {"[red]c": Seat()}
    assert "[b]x[/b]" in text(standing) and "[red]c" in text(standing)


@pytest.mark.parametrize("height", [12, 24])
def test_many_clients_fit_into_the_terminal(standing, height):
    standing.seats = {f"client-{k}": Seat() for k in range(200)}
    standing.advance(progress(1), [{"kind": "late", "client": "a", "reason": "r"}] * 9)
    shown = lines(standing, height=height)
    assert len(shown) <= height
    named = sum(line.startswith("client-") for line in shown)
    assert f"and {200 - named} more" in shown


def test_a_narrow_terminal_loses_no_number(standing):
    standing.seats = {"a-client-with-a-long-name": Seat()}
    standing.advance(progress(2, rows("a-client-with-a-long-name", 8)))
    assert any(line.endswith("80.0 80.0 80.0") for line in lines(standing, width=60))
