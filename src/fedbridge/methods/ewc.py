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

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedbridge.config.section import Options, Positive, Weight
from fedbridge.core.losses import cross_entropy
from fedbridge.methods.context import TrainContext
from fedbridge.methods.spec import Learner
from fedbridge.models.small.space import as_input
from fedbridge.wire import State


class EWC(Options):
    """Elastic Weight Consolidation: what earlier tasks need is held where it was."""

    name: Literal["ewc"] = "ewc"
    weight: Weight = 0.3
    """Weight ``lambda`` of the penalty."""
    decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Factor ``gamma`` on the importance of earlier tasks whenever one is added."""
    normalise: bool = True
    """Divide a task's importances by their mean, so that a task that is known for certain, whose
    gradients vanish, is held as firmly as others."""
    fisher_items: Positive = 200
    """Most items of a task from which the importance of parameters is taken."""
    classes: Literal["seen", "task"] = "task"
    """Classes the softmax runs over: all that the client has seen, or the task's only."""


def ewc(context: TrainContext, options: EWC) -> None:
    """Train the context's model in place: cross entropy and the elastic penalty."""
    optimiser = context.optimiser()
    classes = context.classes(options.classes)
    for batch in context.batches():
        embedding = context.model(as_input(batch.inputs))
        loss = context.classification_loss(embedding, batch.labels, classes)
        if options.weight and context.notes:
            loss = loss + options.weight / 2 * penalty(context)
        context.optimizer_step(optimiser, loss)


def penalty(context: TrainContext) -> Tensor:
    """Return the sum over parameters of ``F * (w - w_former)^2``, a scalar."""
    terms = [
        (context.notes[f"fisher/{name}"] * (weight - context.former[name]).square()).sum()
        for name, weight in _trained(context).items()
    ]
    return torch.stack(terms).sum()


def consolidate(context: TrainContext, options: EWC) -> None:
    """Add the importances of this task's parameters to the decayed ones of earlier tasks."""
    if not options.weight:
        return
    order = torch.randperm(len(context.task), generator=context.generator)
    rows = order[: options.fisher_items].to(context.task.inputs.device)
    found = fisher(context, rows, context.classes(options.classes))
    unit = _mean(found) if options.normalise else 1.0
    for name, new in found.items():
        key = f"fisher/{name}"
        earlier = context.notes.get(key, torch.zeros_like(new))
        context.notes[key] = options.decay * earlier + new / unit


def fisher(context: TrainContext, rows: Tensor, classes: Tensor) -> State:
    """Return the diagonal of the empirical Fisher information on some items of the task.

    That is the mean over items of the squared gradient of ``log p(label | item)``, by parameter.
    One item at a time, since the square of a batch's gradient is something else; the model reads
    them in evaluation mode, so that an item's gradient depends on no other item.
    """
    training = context.model.training
    context.model.eval()
    weights = _trained(context)
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for row in rows.split(1):
        item = context.task[row]
        logits = context.shared.logits(context.model(as_input(item.inputs)), classes)
        loss = cross_entropy(logits, context.label_indices(item.labels, classes))
        slopes = torch.autograd.grad(
            loss, list(weights.values()), allow_unused=True, materialize_grads=True
        )
        for name, slope in zip(weights, slopes, strict=True):
            found[name] += slope.square() / len(rows)
    context.model.train(training)
    return found


def _trained(context: TrainContext) -> dict[str, Tensor]:
    """Return the parameters that move, by name."""
    return {name: w for name, w in context.model.named_parameters() if w.requires_grad}


def _mean(state: State) -> float:
    every = torch.cat([part.flatten() for part in state.values()])
    return max(float(every.double().mean()), torch.finfo(torch.float32).tiny)


LEARNER = Learner(options=EWC, learn=ewc, end_task=consolidate)
