"""A round of learning of which a model comes out that can be used, or the one that went in."""

from typing import Any

from fedbridge.client import LEARNERS
from fedbridge.client.lesson import Lesson
from fedbridge.losses import DivergedError
from fedbridge.models.states import infinity, placeholder


def learnt(lesson: Lesson, options: Any, ends: bool) -> int:
    """Train the lesson's model for one round, which may end a task; options are the learner's.

    Returns the step at which it diverged, 0 if it did not. A model that did, and what was noted
    meanwhile, are thrown away: both are as they were before the round.
    """
    learner = LEARNERS[options.name]
    notes = {name: value.clone() for name, value in lesson.notes.items()}
    lesson.model.train()
    try:
        learner.learn(lesson, options)
        if ends:
            learner.close(lesson, options)
        lesson.model.eval()
        if _lost(lesson) or lesson.commons.fault(lesson.model):
            raise DivergedError(max(lesson.steps.count, 1))
    except DivergedError as error:
        lesson.model.load_state_dict(lesson.start)
        lesson.notes.clear()
        lesson.notes.update(notes)
        return error.step
    finally:
        lesson.model.eval()
    return 0


def _lost(lesson: Lesson) -> bool:
    """Say whether notes are no numbers; those of a model with masks may be infinite as well."""
    if any(map(placeholder, lesson.start.values())):
        return any(note.isnan().any() for note in lesson.notes.values())
    return infinity(lesson.notes) is not None
