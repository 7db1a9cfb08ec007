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
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from fedbridge.config.section import Count, Options, Positive, Weight
from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.spec import Exemplars, Keep, Learner
from fedbridge.models.small.space import as_input


class DERPP(Options):
    """Dark Experience Replay++: remembered items with their labels and their first answers."""

    name: Literal["derpp"] = "derpp"
    alpha: Weight = 0.1
    """Weight of the squared distance from the logits of the time of remembering."""
    beta: Weight = 1.0
    """Weight of cross entropy on remembered items."""
    memory: Count = 20
    """Exemplars in the client's own storage per class of its whole stream."""
    keep: Keep = "reservoir"
    """Which ones, as for ``replay``."""
    memory_batch: Positive = 64
    """Exemplars per step and term; each term has its own draw."""


def derpp(context: TrainContext, options: DERPP) -> None:
    """Train the context's model in place: the task's items, first answers, and known labels."""
    optimiser = context.optimiser()
    memory = with_first_answers(context)
    for batch in context.batches():
        dark, bright = (context.draw(memory, options.memory_batch) for _ in range(2))
        context.optimizer_step(optimiser, derpp_loss(context, options, batch, (dark, bright)))


def derpp_loss(
    context: TrainContext, options: DERPP, batch: ItemBatch, drawn: tuple[ItemBatch, ItemBatch]
) -> Tensor:
    """Return the loss of one step; the two draws serve the answers and the labels."""
    dark, bright = drawn
    embedding = context.model(as_input((batch + dark + bright).inputs))
    own, of_dark, of_bright = embedding.split([len(batch), len(dark), len(bright)])
    loss = context.classification_loss(own, batch.labels, context.seen)
    if options.alpha and len(dark) and dark.old_embeddings is not None:
        then = context.shared.logits(dark.old_embeddings, context.seen)
        loss = loss + options.alpha * F.mse_loss(context.shared.logits(of_dark, context.seen), then)
    if options.beta and len(bright):
        loss = loss + options.beta * context.classification_loss(
            of_bright, bright.labels, context.seen
        )
    return loss


def with_first_answers(context: TrainContext) -> ItemBatch:
    """Return the memory with its first answers as ``previous``, and note them for later tasks.

    Items that are new in memory were remembered when the previous task ended: their first answer
    is that of the previous self. Items that have left memory leave the notes, too.
    """
    memory = context.memory
    if memory.old_embeddings is None:
        return memory
    answers = memory.old_embeddings.clone()
    if "items" in context.notes:
        known = context.notes["items"]
        here, there = (memory.items[:, None] == known).nonzero(as_tuple=True)
        answers[here] = context.notes["answers"][there]
    context.notes.update(items=memory.items, answers=answers)
    return replace(memory, old_embeddings=answers)


LEARNER = Learner(
    options=DERPP,
    learn=derpp,
    needs_old_model=True,
    exemplars=lambda options: Exemplars(options.memory, options.keep),
)
