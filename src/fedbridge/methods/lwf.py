"""Learning without Forgetting: new items, judged by their labels and by the earlier self.

Li and Hoiem, *Learning without Forgetting*, ECCV 2016, eq. 2 and 3: the answers over the old
classes that the own earlier model gives to the new task's items, softened by a temperature, are
aimed at beside the labels. Entropy and divergence differ by what no gradient sees, so the
divergence stands here. The paper's tasks have outputs of their own; here all classes are anchors
in one space, and the two terms are kept apart by the classes that each softmax runs over.
"""

from typing import Literal

from torch import Tensor

from fedbridge.config.section import Options, Positive, Scale, Weight
from fedbridge.core.losses import divergence
from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.spec import Learner
from fedbridge.models.small.space import as_input


class LwF(Options):
    """Learning without Forgetting: the task's items, and what the earlier self said of them."""

    name: Literal["lwf"] = "lwf"
    weight: Weight = 1.0
    """Weight ``lambda_o`` of distillation from the own model as it ended the previous task."""
    temperature: Scale = 2.0
    """Divisor ``T`` of both models' logits in that distillation."""
    on: Literal["public", "private", "both"] = "private"
    """Inputs on which it is computed; the paper has private ones only."""
    public_batch: Positive = 64
    """Public items per step, if they are used."""
    classes: Literal["seen", "task"] = "task"
    """Classes of the cross entropy's softmax: all that the client has seen, or the task's only."""


def lwf(context: TrainContext, options: LwF) -> None:
    """Train the context's model in place: cross entropy and distillation from the earlier self."""
    optimiser = context.optimiser()
    public_batch = 0 if options.on == "private" else options.public_batch
    for batch in context.batches():
        public = context.draw(context.public, public_batch)
        context.optimizer_step(optimiser, lwf_loss(context, options, batch, public))


def lwf_loss(context: TrainContext, options: LwF, batch: ItemBatch, public: ItemBatch) -> Tensor:
    """Return the loss of one step; one forward pass serves both terms."""
    both = batch + public
    embedding = context.model(as_input(both.inputs))
    classes = context.classes(options.classes)
    loss = context.classification_loss(embedding[: len(batch)], batch.labels, classes)
    if options.weight and both.old_embeddings is not None and len(context.old) > 1:
        first = len(batch) if options.on == "public" else 0
        then = context.shared.logits(both.old_embeddings[first:], context.old)
        now = context.shared.logits(embedding[first:], context.old)
        softened = divergence(then / options.temperature, now / options.temperature)
        loss = loss + options.weight * softened.mean()
    return loss


LEARNER = Learner(options=LwF, learn=lwf, needs_old_model=True)
