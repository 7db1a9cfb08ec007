"""Global-Local Forgetting Compensation, the part of the clients; to be fused with ``fedavg``.

Dong et al., *Federated Class-Incremental Learning*, CVPR 2022. Two losses on new items and
exemplars together. Class-aware gradient compensation (eq. 3 to 5): cross entropy in which an
item's weight is the size of its gradient, relative to the mean over the items of its group, old
classes or new ones, so that both groups count alike. Class-semantic relation distillation: the
label's vector, with the old classes' places taken by what the old model says there, is aimed at;
classes are judged one by one, with a sigmoid each, as in the authors' code.

Two parts have no place here. The paper's clients notice by their entropy that a task has begun;
here they know. Its proxy server rebuilds prototypes from perturbed gradients, to choose the best
old global model; here the old model is the one with which the client ended its previous task.
"""

from typing import Literal

import torch
from torch import Tensor

from fedbridge.config.section import Count, Options, Positive, Weight
from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.spec import Exemplars, Keep, Learner
from fedbridge.models.small.space import as_input


class GLFC(Options):
    """Global-Local Forgetting Compensation, its clients' part: old and new classes in balance."""

    name: Literal["glfc"] = "glfc"
    compensation: Weight = 0.5
    """Weight of cross entropy with class-aware gradient compensation."""
    relation: Weight = 0.25
    """Weight of class-semantic relation distillation, a sum over classes."""
    memory: Count = 20
    """Exemplars in the client's own storage per class of its whole stream."""
    keep: Keep = "herding"
    """Which ones, as for ``replay``."""
    memory_batch: Positive = 64
    """Exemplars per step."""


def glfc(context: TrainContext, options: GLFC) -> None:
    """Train the context's model in place: both losses on new items and exemplars."""
    optimiser = context.optimiser()
    for batch in context.batches():
        items = batch + context.draw(context.memory, options.memory_batch)
        context.optimizer_step(optimiser, glfc_loss(context, options, items))


def glfc_loss(context: TrainContext, options: GLFC, items: ItemBatch) -> Tensor:
    """Return the loss of one step; one forward pass serves both terms."""
    embedding = context.model(as_input(items.inputs))
    logits = context.shared.logits(embedding, context.seen)
    columns = context.label_indices(items.labels, context.seen)
    weights = compensation(logits.detach(), columns, torch.isin(items.labels, context.old))
    loss = options.compensation * context.classification_loss(
        embedding, items.labels, context.seen, weights
    )
    if options.relation and items.old_embeddings is not None and len(context.old):
        loss = loss + options.relation * context.relation(embedding, items)
    return loss


def compensation(logits: Tensor, columns: Tensor, old: Tensor) -> Tensor:
    """Return each item's weight ``(B,)``: ``|p(label) - 1|`` over its mean in the item's group.

    ``logits`` are ``(B, C)``, ``columns (B,)`` the labels' places, ``old (B,)`` says who is of
    the group of old classes. A group without any gradient has the weights 0.
    """
    size = 1.0 - logits.softmax(1).gather(1, columns[:, None])[:, 0]
    mean = torch.where(old, _mean_over(size, old), _mean_over(size, ~old))
    return size / mean.clamp_min(torch.finfo(size.dtype).tiny)


def _mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp_min(1)


LEARNER = Learner(
    options=GLFC,
    learn=glfc,
    needs_old_model=True,
    exemplars=lambda options: Exemplars(options.memory, options.keep),
)
