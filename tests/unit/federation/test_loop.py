from dataclasses import dataclass, field

import pytest

from fedbridge.config import Scenario, Training
from fedbridge.federation.loop import federate, steps
from fedbridge.methods.config import Config
from fedbridge.wire import Step


@dataclass
class Diary:
    """A server and a transport that write down what they are asked to do."""

    lines: list[str] = field(default_factory=list)

    def broadcast(self, step):
        self.lines.append(f"broadcast {step.task}.{step.round}")
        return {"b": step, "a": step}

    def exchange(self, broadcasts):
        for name in broadcasts:
            self.lines.append(f"learn {name}")
            yield name

    def absorb(self, upload):
        self.lines.append(f"absorb {upload}")

    def finish_round(self, step):
        self.lines.append(f"finish {step.task}.{step.round}")


def test_steps_go_round_by_round_through_the_tasks():
    config = Config(scenario=Scenario(tasks=2), training=Training(rounds=3))
    assert steps(config) == [Step(1, 1), Step(1, 2), Step(1, 3), Step(2, 1), Step(2, 2), Step(2, 3)]


def test_uploads_are_absorbed_one_by_one_as_they_come():
    diary = Diary()
    assert list(federate(diary, diary, [Step(1, 1)])) == [Step(1, 1)]
    assert diary.lines == [
        "broadcast 1.1",
        *("learn b", "absorb b", "learn a", "absorb a"),
        "finish 1.1",
    ]


def test_nothing_is_begun_before_it_is_asked_for():
    diary = Diary()
    loop = federate(diary, diary, [Step(1, 1), Step(1, 2)])
    assert diary.lines == []
    assert next(loop) == Step(1, 1)
    assert diary.lines[-1] == "finish 1.1"
    assert next(loop) == Step(1, 2)
    with pytest.raises(StopIteration):
        next(loop)
    assert list(federate(diary, diary, [])) == []
