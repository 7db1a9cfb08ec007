"""Small Model Continual Fine-tuning (arXiv 2508.09489): learn a task, keep the earlier ones."""

from typing import Literal

import torch
from torch import Tensor

from fedbridge.config.section import Count, Options, Positive, Scale, Weight
from fedbridge.core.losses import divergence
from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.spec import Exemplars, Keep, Learner
from fedbridge.models.small.space import as_input


class SMCF(Options):
    """Small Model Continual Fine-tuning: every term has a weight, 0 switches it off."""

    name: Literal["smcf"] = "smcf"
    previous: Weight = 1.0
    """Weight of distillation from the own model as it ended the previous task."""
    large: Weight = 1.0
    """Weight of distillation from the large side."""
    guide: Literal["large", "together"] = "large"
    """What the large side teaches: its own distribution, or its calibrated mixture with the
    small model as the round began."""
    teach_unseen: bool = True
    """Whether the large side also teaches classes that other clients know and this one has not
    met yet."""
    on: Literal["public", "private", "both"] = "both"
    """Inputs on which both distillations are computed."""
    sharpness: Scale = 16.0
    """Factor on the large side's scores before the softmax, where it teaches alone."""
    public_batch: Positive = 64
    """Public items per step."""
    memory: Count = 20
    """Exemplars in the client's own storage per class of its whole stream, shared by the classes
    met so far; 0 is the rehearsal-free variant."""
    keep: Keep = "balanced"
    """Which ones: a sample of every class; a sample of all items whatever their class, as many in
    all as the whole stream's classes would have; or those nearest to the class mean (iCaRL)."""
    memory_batch: Positive = 64
    """Exemplars per step."""
    rehearsal: Weight = 1.0
    """Weight of cross entropy on them."""
    relation: Weight = 0.25
    """Weight of GLFC's class-semantic relation distillation on private items and exemplars."""


def smcf(context: TrainContext, options: SMCF) -> None:
    """Train the context's model in place.

    Each step minimises cross entropy over the seen classes on private items and, with a weight
    of its own, on exemplars, plus distillation from the own earlier self and the large side.
    """
    optimiser = context.optimiser()
    for batch in context.batches():
        kept = context.draw(context.memory, options.memory_batch)
        public = context.draw(context.public, options.public_batch)
        context.optimizer_step(optimiser, smcf_loss(context, options, (batch, kept, public)))


def smcf_loss(
    context: TrainContext, options: SMCF, drawn: tuple[ItemBatch, ItemBatch, ItemBatch]
) -> Tensor:
    """Return the loss of one step on the task's, remembered and public items drawn for it.

    One forward pass serves all of its terms.
    """
    batch, kept, public = drawn
    every = batch + kept + public
    new, private, total = len(batch), len(batch) + len(kept), len(every)
    embedding = context.model(as_input(every.inputs))
    loss = context.classification_loss(embedding[:new], batch.labels, context.seen)
    if options.rehearsal and len(kept):
        # a mean of its own: old classes count as much as the new ones, however few their items
        of_kept = context.classification_loss(embedding[new:private], kept.labels, context.seen)
        loss = loss + options.rehearsal * of_kept
    if options.relation:
        items = every[torch.arange(private)]
        loss = loss + options.relation * context.relation(embedding[:private], items)
    start, end = {"private": (0, private), "public": (private, total), "both": (0, total)}[
        options.on
    ]
    if options.previous:
        said = every[torch.arange(start, end)]
        loss = loss + options.previous * from_old_model(context, embedding[start:end], said)
    # an item of a class that was met says nothing about classes that were not
    for first, last, classes in ((start, private, context.met), (private, end, context.taught)):
        if options.large and last > first and len(classes) > 1:
            then = every.teacher_logits[first:last][:, classes]
            now = context.shared.logits(embedding[first:last], classes)
            share = (last - first) / (end - start)
            loss = loss + options.large * share * divergence(then, now).mean()
    return loss


def from_old_model(context: TrainContext, embedding: Tensor, items: ItemBatch) -> Tensor:
    """Return the divergence from what the own model of the previous task said of old classes."""
    if items.old_embeddings is None or len(context.old) < 2:
        return embedding.new_zeros(())
    then = context.shared.logits(items.old_embeddings, context.old)
    return divergence(then, context.shared.logits(embedding, context.old)).mean()


LEARNER = Learner(
    options=SMCF,
    learn=smcf,
    needs_old_model=True,
    exemplars=lambda options: Exemplars(options.memory, options.keep),
    teach_unseen=lambda options: options.teach_unseen,
    mixture_teaches=lambda options: options.guide == "together",
    sharpness=lambda options: options.sharpness,
)
