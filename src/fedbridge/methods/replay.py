"""Experience replay: every step sees remembered items beside the task's own.

Chaudhry et al., *On Tiny Episodic Memories in Continual Learning*, 2019, algorithm 1: one step on
the union of a batch of the task and a batch drawn from memory. What is remembered is the option
``keep``: see ``fedbridge.client.memory``.
"""

from typing import Literal

from fedbridge.config.section import Count, Options, Positive
from fedbridge.methods.context import TrainContext
from fedbridge.methods.spec import Exemplars, Keep, Learner
from fedbridge.models.small.space import as_input


class Replay(Options):
    """Experience replay: cross entropy on the task's items and on remembered ones."""

    name: Literal["replay"] = "replay"
    memory: Count = 20
    """Exemplars kept per class in the client's own storage; 0 is fine-tuning."""
    keep: Keep = "balanced"
    """Which ones: a sample of every class; a sample of all items whatever their class, as many in
    all as the whole stream's classes would have; or those nearest to the class mean (iCaRL)."""
    memory_batch: Positive = 64
    """Exemplars per step."""


def replay(context: TrainContext, options: Replay) -> None:
    """Train the context's model in place: cross entropy on new and on remembered items."""
    optimiser = context.optimiser()
    for batch in context.batches():
        items = batch + context.draw(context.memory, options.memory_batch)
        embedding = context.model(as_input(items.inputs))
        context.optimizer_step(
            optimiser, context.classification_loss(embedding, items.labels, context.seen)
        )


LEARNER = Learner(
    options=Replay, learn=replay, exemplars=lambda options: Exemplars(options.memory, options.keep)
)
