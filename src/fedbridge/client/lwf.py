"""Learning without Forgetting: new items, judged by their labels and by the earlier self.

Li and Hoiem, *Learning without Forgetting*, ECCV 2016, eq. 2 and 3: the answers over the old
classes that the own earlier model gives to the new task's items, softened by a temperature, are
aimed at beside the labels. Entropy and divergence differ by what no gradient sees, so the
divergence stands here. The paper's tasks have outputs of their own; here all classes are anchors
in one space, and the two terms are kept apart by the classes that each softmax runs over.
"""

from torch import Tensor

from fedbridge.client.lesson import Lesson, Share
from fedbridge.config import LwF
from fedbridge.losses import divergence
from fedbridge.models.space import as_input


def lwf(lesson: Lesson, options: LwF) -> None:
    """Train the lesson's model in place: cross entropy and distillation from the earlier self."""
    optimiser = lesson.optimiser()
    public_batch = 0 if options.on == "private" else options.public_batch
    for batch in lesson.batches():
        public = lesson.draw(lesson.public, public_batch)
        lesson.descend(optimiser, lwf_loss(lesson, options, batch, public))


def lwf_loss(lesson: Lesson, options: LwF, batch: Share, public: Share) -> Tensor:
    """Return the loss of one step; one forward pass serves both terms."""
    both = batch + public
    embedding = lesson.model(as_input(both.inputs))
    classes = lesson.classes(options.classes)
    loss = lesson.supervised(embedding[: len(batch)], batch.labels, classes)
    if options.weight and both.previous is not None and len(lesson.old) > 1:
        first = len(batch) if options.on == "public" else 0
        then = lesson.commons.logits(both.previous[first:], lesson.old)
        now = lesson.commons.logits(embedding[first:], lesson.old)
        softened = divergence(then / options.temperature, now / options.temperature)
        loss = loss + options.weight * softened.mean()
    return loss
