"""Elastic Weight Consolidation: parameters that earlier tasks need are held where they were.

Kirkpatrick et al., *Overcoming catastrophic forgetting in neural networks*, PNAS 2017, eq. 3, in
the online form of Schwarz et al., *Progress & Compress*, ICML 2018: one penalty around the last
model, with importances that add up and decay, instead of one penalty per task. Each task's are
divided by their mean first, against the different scales of tasks: where nearly all probability
is on the labels, as after a long training or at a high temperature, gradients vanish, and with
them all that would hold the parameters.

The penalty is around the model with which the client begins a task, so after fusion where there
is any. The running statistics of normalisation layers are no parameters and are left free.
"""

import torch
from torch import Tensor

from fedbridge.client.lesson import Lesson
from fedbridge.config import EWC
from fedbridge.losses import cross_entropy
from fedbridge.models.space import as_input
from fedbridge.wire import State


def ewc(lesson: Lesson, options: EWC) -> None:
    """Train the lesson's model in place: cross entropy and the elastic penalty."""
    optimiser = lesson.optimiser()
    classes = lesson.classes(options.classes)
    for batch in lesson.batches():
        embedding = lesson.model(as_input(batch.inputs))
        loss = lesson.supervised(embedding, batch.labels, classes)
        if options.weight and lesson.notes:
            loss = loss + options.weight / 2 * penalty(lesson)
        lesson.descend(optimiser, loss)


def penalty(lesson: Lesson) -> Tensor:
    """Return the sum over parameters of ``F * (w - w_former)^2``, a scalar."""
    terms = [
        (lesson.notes[f"fisher/{name}"] * (weight - lesson.former[name]).square()).sum()
        for name, weight in _trained(lesson).items()
    ]
    return torch.stack(terms).sum()


def consolidate(lesson: Lesson, options: EWC) -> None:
    """Add the importances of this task's parameters to the decayed ones of earlier tasks."""
    if not options.weight:
        return
    order = torch.randperm(len(lesson.task), generator=lesson.generator)
    rows = order[: options.fisher_items].to(lesson.task.inputs.device)
    found = fisher(lesson, rows, lesson.classes(options.classes))
    unit = _mean(found) if options.normalise else 1.0
    for name, new in found.items():
        key = f"fisher/{name}"
        earlier = lesson.notes.get(key, torch.zeros_like(new))
        lesson.notes[key] = options.decay * earlier + new / unit


def fisher(lesson: Lesson, rows: Tensor, classes: Tensor) -> State:
    """Return the diagonal of the empirical Fisher information on some items of the task.

    That is the mean over items of the squared gradient of ``log p(label | item)``, by parameter.
    One item at a time, since the square of a batch's gradient is something else; the model reads
    them in evaluation mode, so that an item's gradient depends on no other item.
    """
    training = lesson.model.training
    lesson.model.eval()
    weights = _trained(lesson)
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for row in rows.split(1):
        item = lesson.task[row]
        logits = lesson.commons.logits(lesson.model(as_input(item.inputs)), classes)
        loss = cross_entropy(logits, lesson.columns(item.labels, classes))
        slopes = torch.autograd.grad(
            loss, list(weights.values()), allow_unused=True, materialize_grads=True
        )
        for name, slope in zip(weights, slopes, strict=True):
            found[name] += slope.square() / len(rows)
    lesson.model.train(training)
    return found


def _trained(lesson: Lesson) -> dict[str, Tensor]:
    """Return the parameters that move, by name."""
    return {name: w for name, w in lesson.model.named_parameters() if w.requires_grad}


def _mean(state: State) -> float:
    every = torch.cat([part.flatten() for part in state.values()])
    return max(float(every.double().mean()), torch.finfo(torch.float32).tiny)
