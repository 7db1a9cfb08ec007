"""Small Model Continual Fine-tuning (arXiv 2508.09489): learn a task, keep the earlier ones."""

import torch
from torch import Tensor

from fedbridge.client.lesson import Lesson, Share
from fedbridge.config import SMCF
from fedbridge.losses import divergence
from fedbridge.models.space import as_input


def smcf(lesson: Lesson, options: SMCF) -> None:
    """Train the lesson's model in place.

    Each step minimises cross entropy over the seen classes on private items and exemplars,
    plus distillation from the own earlier self and from the large side.
    """
    optimiser = lesson.optimiser()
    for batch in lesson.batches():
        private = batch
        if len(lesson.memory):
            private = batch + lesson.draw(lesson.memory, options.memory_batch)
        public = lesson.draw(lesson.public, options.public_batch)
        lesson.descend(optimiser, smcf_loss(lesson, options, private, public))


def smcf_loss(lesson: Lesson, options: SMCF, private: Share, public: Share) -> Tensor:
    """Return the loss of one step; one forward pass serves all of its terms."""
    both = private + public
    embedding = lesson.model(as_input(both.inputs))
    loss = lesson.supervised(embedding[: len(private)], private.labels, lesson.seen)
    start, end = _where(options.on, len(private), len(both))
    embedding, both = embedding[start:end], both[torch.arange(start, end)]
    if options.previous and both.previous is not None and len(lesson.old) > 1:
        then = lesson.commons.logits(both.previous, lesson.old)
        now = lesson.commons.logits(embedding, lesson.old)
        loss = loss + options.previous * divergence(then, now).mean()
    if options.large and len(lesson.taught) > 1:
        then = both.guide[:, lesson.taught]
        now = lesson.commons.logits(embedding, lesson.taught)
        loss = loss + options.large * divergence(then, now).mean()
    return loss


def _where(on: str, private: int, both: int) -> tuple[int, int]:
    return {"private": (0, private), "public": (private, both), "both": (0, both)}[on]
