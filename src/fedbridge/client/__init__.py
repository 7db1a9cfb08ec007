"""The client's side: its private stream, its small model and its ways to learn."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fedbridge.client import fedweit
from fedbridge.client.derpp import derpp
from fedbridge.client.ewc import consolidate, ewc
from fedbridge.client.finetune import finetune
from fedbridge.client.glfc import glfc
from fedbridge.client.lesson import Lesson
from fedbridge.client.lwf import lwf
from fedbridge.client.replay import replay
from fedbridge.client.smcf import smcf
from fedbridge.client.target import target
from fedbridge.models.space import SmallModel
from fedbridge.wire import State


def leave(lesson: Lesson, options: Any) -> None:
    """Take nothing along from a task."""


def model_itself(state: State, notes: State) -> State:
    """Upload the model as it is."""
    return state


def go_on(model: SmallModel, sent: State, notes: State) -> None:
    """Go on from the model that was sent."""
    model.load_state_dict(sent)


class Learner(NamedTuple):
    """A way to learn; both functions get the lesson and the learner's own section of the config."""

    learn: Callable[[Lesson, Any], None]
    """Trains the lesson's model in place for one round."""
    close: Callable[[Lesson, Any], None] = leave
    """After a task's last round: puts into ``lesson.notes`` what later tasks will need."""
    earlier: bool = False
    """Whether it asks what the own model of the previous task says (``Share.previous``)."""
    sends: Callable[[State, State], State] = model_itself
    """What is uploaded, of the model's state and the notes, to a fusion of the learner's name."""
    takes: Callable[[SmallModel, State, State], None] = go_on
    """What becomes of what that fusion sends back: may change the model and the notes."""
    recall: Callable[[State, int], State] | None = None
    """Gives of the notes the model that answers for an own earlier task; None: one answers for
    all."""


LEARNERS: dict[str, Learner] = {
    "finetune": Learner(finetune),
    "ewc": Learner(ewc, close=consolidate),
    "lwf": Learner(lwf, earlier=True),
    "replay": Learner(replay),
    "derpp": Learner(derpp, earlier=True),
    "glfc": Learner(glfc, earlier=True),
    "smcf": Learner(smcf, earlier=True),
    "target": Learner(target),
    "fedweit": Learner(
        fedweit.fedweit, sends=fedweit.sends, takes=fedweit.takes, recall=fedweit.recall
    ),
}
