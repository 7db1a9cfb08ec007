"""The clients' part of TARGET (Zhang et al., ICCV 2023): old knowledge on synthetic pictures.

Adapted: class scores come from the fixed anchors, and the divergence is taken at the temperature
of the shared space over all classes that the pictures were made for.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from fedbridge.client.lesson import Lesson
from fedbridge.config import TargetLearner
from fedbridge.losses import divergence
from fedbridge.models.space import as_input, embed


def target(lesson: Lesson, options: TargetLearner) -> None:
    """Train the lesson's model in place; without synthetic pictures this is fine-tuning.

    Eq. 5: cross entropy on the task's items, plus ``weight`` times the divergence from the model
    that ended the previous task, on pictures that the server synthesised.
    """
    optimiser = lesson.optimiser()
    classes = lesson.classes(options.classes)
    dreams = _dreams(lesson)
    for batch in lesson.batches():
        embedding = lesson.model(as_input(batch.inputs))
        loss = lesson.supervised(embedding, batch.labels, classes)
        if dreams is not None and options.weight:
            loss = loss + options.weight * _forgotten(lesson, dreams, options.batch)
        lesson.descend(optimiser, loss)


class _Dreams(NamedTuple):
    inputs: Tensor  # (n, C, S, S), uint8
    answers: Tensor  # (n, C'), logits of the former model
    classes: Tensor  # (C',), class ids


def _dreams(lesson: Lesson) -> _Dreams | None:
    inputs = lesson.shared.get("synthetic")
    if inputs is None or not lesson.former:
        return None
    teacher = copy.deepcopy(lesson.model)
    teacher.load_state_dict(lesson.former)
    classes = lesson.shared["synthetic_labels"].unique()
    return _Dreams(inputs, lesson.commons.logits(embed(teacher, inputs), classes), classes)


def _forgotten(lesson: Lesson, dreams: _Dreams, size: int) -> Tensor:
    rows = torch.randint(len(dreams.inputs), (size,), generator=lesson.generator)
    rows = rows.to(dreams.inputs.device)
    embedding = lesson.model(as_input(dreams.inputs[rows]))
    return divergence(dreams.answers[rows], lesson.commons.logits(embedding, dreams.classes)).mean()
