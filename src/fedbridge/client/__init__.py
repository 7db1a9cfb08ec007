"""The client's side: its private stream, its small model and its ways to learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fedbridge.client.finetune import finetune
from fedbridge.client.lesson import Lesson
from fedbridge.client.smcf import smcf


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
    "smcf": Learner(smcf, earlier=True),
}
