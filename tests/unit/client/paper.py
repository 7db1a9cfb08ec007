"""A client small enough for paper: two pixels, a linear model, and axes as anchors."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from fedbridge.methods.context import ItemBatch, TrainContext
from worlds import bare_context, linear_model, tiny_config

Table = NDArray[np.float64]

TAU, RATE, DECAY = 4.0, 0.01, 0.1
WEIGHTS = [[1.0, 0.2], [-0.3, 0.8], [0.5, 0.5]]


def item(
    pixels: list[int], label: int, previous: list[float] | None = None, n: int = 0
) -> ItemBatch:
    """Return one item, with the answer ``(3,)`` of the earlier self where there is one."""
    return ItemBatch(
        torch.tensor([[pixels]], dtype=torch.uint8)[:, :, None],
        torch.tensor([label]),
        None if previous is None else torch.tensor([previous]),
        torch.zeros(1, 3),
        torch.tensor([n]),
    )


NEW = item([255, 102], 2, [0.6, 0.8, 0.0], 1)
OLD = item([0, 255], 1, [0.0, 0.6, 0.8], 2)
OTHER = item([255, 255], 0, [0.8, 0.0, 0.6], 3)
PUBLIC = item([255, 255], -1, [0.0, 1.0, 0.0], -1)
NOTHING = NEW[torch.arange(0)]


def context(epochs: int = 1, decay: float = DECAY, **changes: object) -> TrainContext:
    """Return the third task of a client: class 2 is new, 0 and 1 are old, nothing is remembered."""
    training = {"epochs": epochs, "batch": 4, "lr": RATE, "weight_decay": decay}
    config = tiny_config(small={"temperature": TAU, "dimension": 3}, training=training)
    made = TrainContext(
        model=linear_model(WEIGHTS),
        shared=bare_context(config, 3, PUBLIC.inputs, torch.zeros(1, 2)),
        task=NEW,
        memory=NOTHING,
        public=PUBLIC,
        seen=torch.arange(3),
        new=torch.tensor([2]),
        old=torch.tensor([0, 1]),
        taught=torch.arange(0),
        generator=torch.Generator().manual_seed(0),
    )
    return dataclasses.replace(made, **changes)


def softmax(logits: Table) -> Table:
    e = np.exp(logits)
    return e / e.sum()


def logits(weights: Table, one: ItemBatch) -> Table:
    """Return ``TAU`` times the embedding of an item, which are its logits here."""
    v = weights @ (one.inputs.numpy().reshape(-1)[:2] / 255.0)
    return TAU * v / np.linalg.norm(v)


def answer(one: ItemBatch) -> Table:
    """Return the earlier self's logits of an item."""
    assert one.old_embeddings is not None
    return TAU * one.old_embeddings[0].double().numpy()


def entropy(weights: Table, one: ItemBatch, classes: tuple[int, ...] = (0, 1, 2)) -> float:
    """Return the cross entropy of an item over some classes."""
    p = softmax(logits(weights, one)[list(classes)])
    return float(-np.log(p[classes.index(int(one.labels))]))


def slope(loss: Callable[[Table], float], weights: Table) -> Table:
    """Return the gradient of a loss by central differences."""
    found = np.zeros_like(weights)
    for place in np.ndindex(*weights.shape):
        nudge = np.zeros_like(weights)
        nudge[place] = 1e-6
        found[place] = (loss(weights + nudge) - loss(weights - nudge)) / 2e-6
    return found


def stepped(loss: Callable[[Table], float], weights: Table) -> Table:
    """Return the weights after AdamW's first step: decay, then a rate against the slope's sign."""
    down = slope(loss, weights)
    assert np.abs(down).min() > 1e-4
    return weights * (1 - RATE * DECAY) - RATE * down / (np.abs(down) + 1e-8)
