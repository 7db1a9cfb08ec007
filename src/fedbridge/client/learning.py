"""A round of learning of which a model comes out that can be used, or the one that went in."""

from fedbridge.core.losses import DivergedError
from fedbridge.core.states import infinity, placeholder
from fedbridge.methods.context import TrainContext
from fedbridge.methods.registry import learner_of


def learnt(context: TrainContext, ends: bool) -> int:
    """Train the context's model for one round, which may end a task.

    Returns the step at which it diverged, 0 if it did not. A model that did, and what was noted
    meanwhile, are thrown away: both are as they were before the round.
    """
    learner, options = learner_of(context.shared.config), context.shared.config.learner
    notes = {name: value.clone() for name, value in context.notes.items()}
    context.model.train()
    try:
        learner.learn(context, options)
        if ends:
            learner.end_task(context, options)
        context.model.eval()
        if _lost(context) or context.shared.fault(context.model):
            raise DivergedError(max(context.steps.count, 1))
    except DivergedError as error:
        context.model.load_state_dict(context.start)
        context.notes.clear()
        context.notes.update(notes)
        return error.step
    finally:
        context.model.eval()
    return 0


def _lost(context: TrainContext) -> bool:
    """Say whether notes are no numbers; those of a model with masks may be infinite as well."""
    if any(map(placeholder, context.start.values())):
        return any(note.isnan().any() for note in context.notes.values())
    return infinity(context.notes) is not None
