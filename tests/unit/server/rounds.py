"""Rounds by hand: embeddings that are logits, and models as the server receives them."""

import math
from typing import Any

import torch
from torch import Tensor

from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import PublicPredictions, RoundUploads, Student
from fedbridge.wire import State, Step
from worlds import bare_context, tiny_config

FIRST = Step(1, 1)


def axes(
    items: int, classes: int = 4, features: Tensor | None = None, **config: Any
) -> SharedContext:
    """Return one with axes as anchors and tau = 1, so that embeddings are logits."""
    settings = tiny_config(small={"temperature": 1.0, "dimension": classes}, **config)
    table = torch.zeros(items, 2) if features is None else features
    return bare_context(settings, classes, torch.zeros(items, 1, 16, 16), table)


def says(name: str, items: int, classes: int = 4, **of_class: list[float]) -> PublicPredictions:
    """Return a model by its logit of each class it knows, ``c0=[...]`` over the items."""
    embedding = torch.full((items, classes), 99.0)  # what it says of classes it does not know
    for key, logits in of_class.items():
        embedding[:, int(key[1:])] = torch.tensor(logits)
    return PublicPredictions(name, tuple(int(key[1:]) for key in of_class), embedding)


def student(
    name: str,
    state: State,
    predictions: PublicPredictions | None = None,
    model: str = "mlp",
    **more: Any,
) -> Student:
    """Return a student whose knowledge does not matter unless it is given."""
    known = predictions or PublicPredictions(name, (0, 1), torch.zeros(0))
    return Student(name, model, state, known, (), **more)


def gathered(students: list[Student], step: Step = FIRST, **changes: Any) -> RoundUploads:
    """Return a round in which all clients took part, unless ``models`` says otherwise."""
    models = {s.name: s.model for s in students}
    return RoundUploads(step, students, **{"models": models, **changes})


def variance(*logits: float) -> float:
    mean = math.fsum(logits) / len(logits)
    return math.fsum((x - mean) ** 2 for x in logits) / len(logits)
