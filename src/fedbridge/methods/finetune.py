"""Fine-tuning: cross entropy on the task's data and nothing else, the lower bound."""

from typing import Literal

from fedbridge.config.section import Options
from fedbridge.methods.context import TrainContext
from fedbridge.methods.spec import Learner
from fedbridge.models.small.space import as_input


class FineTune(Options):
    """Cross entropy on the task's data and nothing else."""

    name: Literal["finetune"] = "finetune"
    classes: Literal["seen", "task"] = "seen"
    """Classes the softmax runs over: all that the client has seen, or the task's only."""


def finetune(context: TrainContext, options: FineTune) -> None:
    """Train the context's model in place on the task's items alone."""
    optimiser = context.optimiser()
    classes = context.classes(options.classes)
    for batch in context.batches():
        embedding = context.model(as_input(batch.inputs))
        context.optimizer_step(
            optimiser, context.classification_loss(embedding, batch.labels, classes)
        )


LEARNER = Learner(options=FineTune, learn=finetune)
