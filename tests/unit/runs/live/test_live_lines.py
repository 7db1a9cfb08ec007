import logging
import threading

from fedbridge.core.metrics import PREDICTORS, AccuracyRow
from fedbridge.methods.files import parse_config
from fedbridge.runs.live import lines
from fedbridge.runs.live.lines import LONG, Lines, spoken
from fedbridge.runs.live.standing import RunStatus
from fedbridge.runs.progress import Progress
from fedbridge.wire import Step


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def told(looks, patience=2.0):
    """Return what is said of looks (seconds, phase, done, wanted), and when."""
    clock, said = Clock(), []
    found = Lines(lambda text: said.append((clock.now - 100.0, text)), clock)
    for second, phase, done, wanted in looks:
        clock.now = 100.0 + second
        found.look(phase, (done, wanted), f"{phase} {done}/{wanted}", patience)
    return said


def test_a_phase_that_is_over_soon_is_not_worth_a_line():
    assert told([(0, "a", 0, 0), (1.5, "a", 0, 0), (1.6, "b", 0, 0), (3, "b", 0, 0)]) == []


def test_a_phase_is_told_once_it_lasts_with_what_is_left_of_it():
    looks = [(second, "encode", 5 * second, 100) for second in range(21)]
    assert told(looks) == [
        (2, "encode 10/100, for 2.0 s, about 18.0 s left"),
        (12, "encode 60/100, for 12.0 s, about 8.0 s left"),
    ]


def test_what_is_no_further_is_told_again_after_long():
    looks = [(second, "warm start", 0, 3) for second in range(0, 150)]
    assert [second for second, _ in told(looks)] == [2, 2 + LONG, 2 + 2 * LONG]
    assert told(looks)[1][1] == "warm start 0/3, for 1 min 2 s"


def test_a_slow_phase_speaks_by_tenths_and_a_quick_one_not_more_than_every_so_often():
    slow = told([(second, "encode", second, 1000) for second in range(400)])
    assert [second for second, _ in slow] == [2, 62, 122, 182, 242, 302, 362]
    quick = told([(second, "encode", second, 40) for second in range(40)])
    assert [second for second, _ in quick] == [2, 12, 22, 32]


def test_steps_are_told_with_accuracy_and_times():
    config = parse_config({"scenario": {"tasks": 2}, "training": {"rounds": 1}}, "t")
    clock = Clock()
    standing = RunStatus(config, clock)
    said = []
    rows = [AccuracyRow("a", 1, 1, p, "class-incremental", 8, 10) for p in PREDICTORS]
    with spoken(standing, said.append) as step:
        for done, found in ((1, []), (2, rows)):
            standing.learn(Step(done, 1), ["a"])
            clock.now += 20.0
            progress = Progress(Step(done, 1), done, 2, found)
            standing.advance(progress)
            step(progress)
    assert said == [
        "task 1 round 1: 20.0 s gone, about 20.0 s left",
        "task 2 round 1: small 80.0, large 80.0, together 80.0 %; 40.0 s gone",
    ]


def test_what_is_logged_is_said_where_it_takes_a_while(monkeypatch):
    monkeypatch.setattr(lines, "SHORT", 0.05)
    monkeypatch.setattr(lines, "LOOK", 0.01)
    log, said, heard = logging.getLogger("fedbridge.x"), [], threading.Event()
    with lines.patient(lambda words: (said.append(words), heard.set())):
        log.info("a moment")
        log.info("fetching %s", "much")
        assert heard.wait(10)
    log.info("later")
    assert len(said) == 1 and said[0].startswith("fetching much, for 0.")
