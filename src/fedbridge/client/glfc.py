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

import torch
from torch import Tensor

from fedbridge.client.lesson import Lesson, Share
from fedbridge.config import GLFC
from fedbridge.models.space import as_input


def glfc(lesson: Lesson, options: GLFC) -> None:
    """Train the lesson's model in place: both losses on new items and exemplars."""
    optimiser = lesson.optimiser()
    for batch in lesson.batches():
        items = batch
        if len(lesson.memory):
            items = batch + lesson.draw(lesson.memory, options.memory_batch)
        lesson.descend(optimiser, glfc_loss(lesson, options, items))


def glfc_loss(lesson: Lesson, options: GLFC, items: Share) -> Tensor:
    """Return the loss of one step; one forward pass serves both terms."""
    embedding = lesson.model(as_input(items.inputs))
    logits = lesson.commons.logits(embedding, lesson.seen)
    columns = lesson.columns(items.labels, lesson.seen)
    weights = compensation(logits.detach(), columns, torch.isin(items.labels, lesson.old))
    loss = options.compensation * lesson.supervised(embedding, items.labels, lesson.seen, weights)
    if options.relation and items.previous is not None and len(lesson.old):
        loss = loss + options.relation * lesson.relation(embedding, items)
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
