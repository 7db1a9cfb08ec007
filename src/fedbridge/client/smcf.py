"""Small Model Continual Fine-tuning (arXiv 2508.09489): learn a task, keep the earlier ones."""

import torch
from torch import Tensor

from fedbridge.client.lesson import Lesson, Share
from fedbridge.config import SMCF
from fedbridge.losses import divergence
from fedbridge.models.space import as_input


def smcf(lesson: Lesson, options: SMCF) -> None:
    """Train the lesson's model in place.

    Each step minimises cross entropy over the seen classes on private items and, with a weight
    of its own, on exemplars, plus distillation from the own earlier self and the large side.
    """
    optimiser = lesson.optimiser()
    for batch in lesson.batches():
        kept = lesson.memory
        if len(kept):
            kept = lesson.draw(kept, options.memory_batch)
        public = lesson.draw(lesson.public, options.public_batch)
        lesson.descend(optimiser, smcf_loss(lesson, options, (batch, kept, public)))


def smcf_loss(lesson: Lesson, options: SMCF, drawn: tuple[Share, Share, Share]) -> Tensor:
    """Return the loss of one step on the task's, remembered and public items drawn for it.

    One forward pass serves all of its terms.
    """
    batch, kept, public = drawn
    both = batch + kept + public
    embedding = lesson.model(as_input(both.inputs))
    own, of_kept, _ = embedding.split([len(batch), len(kept), len(public)])
    loss = lesson.supervised(own, batch.labels, lesson.seen)
    if options.rehearsal and len(kept):
        # a mean of its own: old classes count as much as the new ones, however few their items
        loss = loss + options.rehearsal * lesson.supervised(of_kept, kept.labels, lesson.seen)
    private = len(batch) + len(kept)
    if options.relation:
        items = both[torch.arange(private)]
        loss = loss + options.relation * lesson.relation(embedding[:private], items)
    start, end = _where(options.on, private, len(both))
    loss = loss + _earlier(lesson, options, embedding[start:end], both[torch.arange(start, end)])
    # an item of a class that was met says nothing about classes that were not
    for first, last, classes in ((start, private, lesson.met), (private, end, lesson.taught)):
        if options.large and last > first and len(classes) > 1:
            then = both.guide[first:last][:, classes]
            now = lesson.commons.logits(embedding[first:last], classes)
            share = (last - first) / (end - start)
            loss = loss + options.large * share * divergence(then, now).mean()
    return loss


def _earlier(lesson: Lesson, options: SMCF, embedding: Tensor, items: Share) -> Tensor:
    """Return the loss against what the own model of the previous task said."""
    if not options.previous or items.previous is None or len(lesson.old) < 2:
        return embedding.new_zeros(())
    then = lesson.commons.logits(items.previous, lesson.old)
    now = lesson.commons.logits(embedding, lesson.old)
    return options.previous * divergence(then, now).mean()


def _where(on: str, private: int, both: int) -> tuple[int, int]:
    return {"private": (0, private), "public": (private, both), "both": (0, both)}[on]
