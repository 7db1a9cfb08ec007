"""Dark Experience Replay++: a remembered item keeps the answer that it was first given.

Buzzega et al., *Dark Experience for General Continual Learning*, NeurIPS 2020, eq. 6: beside the
task's loss, ``alpha`` times the squared distance between the logits of a remembered item now and
when it was remembered, and ``beta`` times cross entropy on another draw from memory. Stored is
the embedding: anchors are fixed, so it says all logits there will ever be, also for classes that
were met later, and the distance is taken over all classes seen by now. The paper remembers items
at any moment of training; here memory is filled when a task ends, and an item's first answer is
that of the model with which the client goes on then.
"""

from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from fedbridge.client.lesson import Lesson, Share
from fedbridge.config import DERPP
from fedbridge.models.space import as_input


def derpp(lesson: Lesson, options: DERPP) -> None:
    """Train the lesson's model in place: the task's items, first answers, and known labels."""
    optimiser = lesson.optimiser()
    memory = with_first_answers(lesson)
    for batch in lesson.batches():
        dark = bright = memory
        if len(memory):
            dark, bright = (lesson.draw(memory, options.memory_batch) for _ in range(2))
        lesson.descend(optimiser, derpp_loss(lesson, options, batch, (dark, bright)))


def derpp_loss(lesson: Lesson, options: DERPP, batch: Share, drawn: tuple[Share, Share]) -> Tensor:
    """Return the loss of one step; the two draws serve the answers and the labels."""
    dark, bright = drawn
    embedding = lesson.model(as_input((batch + dark + bright).inputs))
    own, of_dark, of_bright = embedding.split([len(batch), len(dark), len(bright)])
    loss = lesson.supervised(own, batch.labels, lesson.seen)
    if options.alpha and len(dark) and dark.previous is not None:
        then = lesson.commons.logits(dark.previous, lesson.seen)
        loss = loss + options.alpha * F.mse_loss(lesson.commons.logits(of_dark, lesson.seen), then)
    if options.beta and len(bright):
        loss = loss + options.beta * lesson.supervised(of_bright, bright.labels, lesson.seen)
    return loss


def with_first_answers(lesson: Lesson) -> Share:
    """Return the memory with its first answers as ``previous``, and note them for later tasks.

    Items that are new in memory were remembered when the previous task ended: their first answer
    is that of the previous self. Items that have left memory leave the notes, too.
    """
    memory = lesson.memory
    if memory.previous is None:
        return memory
    answers = memory.previous.clone()
    if "items" in lesson.notes:
        known = lesson.notes["items"]
        here, there = (memory.items[:, None] == known).nonzero(as_tuple=True)
        answers[here] = lesson.notes["answers"][there]
    lesson.notes.update(items=memory.items, answers=answers)
    return replace(memory, previous=answers)
