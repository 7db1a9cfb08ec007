"""The client's side: its private stream, its small model and its ways to learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fedbridge.client.derpp import derpp
from fedbridge.client.ewc import consolidate, ewc
from fedbridge.client.finetune import finetune
from fedbridge.client.glfc import glfc
from fedbridge.client.lesson import Lesson
from fedbridge.client.lwf import lwf
from fedbridge.client.replay import replay
from fedbridge.client.smcf import smcf
from fedbridge.client.target import target


def leave(lesson: Lesson, options: Any) -> None:
    """Take nothing along from a task."""


class Learner(NamedTuple):
    """A way to learn; both functions get the lesson and the learner's own section of the config."""

    learn: Callable[[Lesson, Any], None]
    """Trains the lesson's model in place for one round."""
    close: Callable[[Lesson, Any], None] = leave
    """After a task's last round: puts into ``lesson.notes`` what later tasks will need."""
    earlier: bool = False
    """Whether it asks what the own model of the previous task says (``Share.previous``)."""


LEARNERS: dict[str, Learner] = {
    "finetune": Learner(finetune),
    "ewc": Learner(ewc, close=consolidate),
    "lwf": Learner(lwf, earlier=True),
    "replay": Learner(replay),
    "derpp": Learner(derpp, earlier=True),
    "glfc": Learner(glfc, earlier=True),
    "smcf": Learner(smcf, earlier=True),
    "target": Learner(target),
}
