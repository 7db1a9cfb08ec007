"""A round of learning of which a model comes out that can be used, or the one that went in."""

from dataclasses import replace

from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.core.losses import DivergedError
from fedbridge.core.states import infinity, placeholder
from fedbridge.methods.context import TrainContext
from fedbridge.methods.registry import learner_of


def learnt(context: TrainContext, ends: bool) -> int:
    """Train the context's model for one round, which may end a task.

    Returns the step at which it diverged, 0 if it did not. A model that did, and what was noted
    meanwhile, are thrown away: both are as they were before the round. Raises UserError if the
    learner leaves aside what the fusion adds to every loss.
    """
    fusion_loss = FusionLoss(context)
    if context.fusion_loss is not None:
        context = replace(context, fusion_loss=fusion_loss)
    learner, options = learner_of(context.shared.config), context.shared.config.learner
    notes = {name: value.clone() for name, value in context.notes.items()}
    context.model.train()
    try:
        learner.learn(context, options)
        fusion_loss.require_use(context.steps.count)
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


class FusionLoss:
    """What a fusion adds to its clients' losses, and whether a learner has asked for it."""

    def __init__(self, context: TrainContext) -> None:
        self._loss, self._used = context.fusion_loss, False
        self._config = context.shared.config

    def __call__(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """Return the term for embeddings ``(B, P)`` with class ids ``(B,)``."""
        assert self._loss is not None
        self._used = True
        return self._loss(embedding, labels)

    def require_use(self, steps: int) -> None:
        """Raise UserError if steps were taken without it: results would be another method's."""
        if self._loss is not None and steps and not self._used:
            learner, fusion = self._config.learner.name, self._config.fusion.name
            raise UserError(
                f"learner.name: {learner} leaves out the term that the fusion {fusion} adds to "
                f"every loss; take context.classification_loss, or add "
                f"context.fusion_loss(embedding, labels) to a loss of your own"
            )


def _lost(context: TrainContext) -> bool:
    """Say whether notes are no numbers; those of a model with masks may be infinite as well."""
    if any(map(placeholder, context.start.values())):
        return any(note.isnan().any() for note in context.notes.values())
    return infinity(context.notes) is not None
