"""How right a client is on its own items: small model, large side and both together."""

import copy

import torch
from torch import Tensor

from fedbridge.client.acceptance import ValidationScore
from fedbridge.client.private import Indices
from fedbridge.client.state import ClientState
from fedbridge.core.losses import cross_entropy
from fedbridge.methods.registry import learner_of
from fedbridge.models.calibration import Mixture, class_balance, count_correct, fit_mixture
from fedbridge.models.small.space import embed
from fedbridge.wire import State

Row = tuple[int, str, str, int, int]
"""``(on_task, predictor, protocol, correct, n)``."""


def measured(own: ClientState, after: int) -> tuple[Row, ...]:
    """Measure every predictor there is on every task up to the one after a task."""
    mixture = mixture_of(own, after) if own.shared.config.large.embeds else None
    on_validation = own.shared.config.scenario.measure == "validation"
    rows = []
    for on, task in enumerate(own.private.stream.tasks, start=1):
        if on > after + 1 and after > 0:
            continue
        items = task.validation if on_validation else task.test
        labels = own.labels(items)
        scores = {"small": small_scores(own, items)}
        if mixture is not None:
            large = own.head.scores(own.features(items))
            scores |= {"large": large, "together": mixture(scores["small"], large)}
        seen, task_ids = own.seen(max(after, on)), own.ids(task.classes)
        for predictor, score in scores.items():
            for protocol, classes in (("class-incremental", seen), ("task-aware", task_ids)):
                correct = count_correct(score, labels, classes)
                rows.append((on, predictor, protocol, correct, len(labels)))
    return tuple(rows)


def mixture_of(own: ClientState, after: int) -> Mixture:
    """Return the powers of both sides that fit the validation items through a task best."""
    rows = own.private.validation(after)
    if not len(rows):
        return Mixture()
    seen = own.seen(after)
    small, large = scores_of(own, rows)
    columns = torch.searchsorted(seen, own.labels(rows))
    return fit_mixture(small[:, seen], large[:, seen], columns)


def scores_of(own: ClientState, rows: Indices) -> tuple[Tensor, Tensor]:
    """Return logits of the small model and scores of the large side, ``(n, C)`` each."""
    return small_scores(own, rows), own.head.scores(own.features(rows))


def small_scores(own: ClientState, rows: Indices) -> Tensor:
    """Return logits ``(n, C)``; classes of earlier tasks are those of their models, if any."""
    every = torch.arange(len(own.shared.classes), device=own.shared.device)
    scores = own.shared.logits(own.embed(rows), every)
    recall = learner_of(own.shared.config).task_model
    if recall is None or own.task < 2:
        return scores
    model, inputs = copy.deepcopy(own.model), own.private.inputs_of(rows).to(scores.device)
    current = own.private.task(own.task).classes
    for number in range(1, own.task):
        state = recall(own.notes, number)
        brought = set(own.private.task(number).classes) - set(current)
        if state and brought:
            model.load_state_dict(state)
            classes = own.ids(tuple(brought))
            scores[:, classes] = own.shared.logits(embed(model, inputs), classes)
    return scores


def judge(own: ClientState, rows: Indices, state: State) -> ValidationScore:
    """Return the class-balanced loss of a small model on own validation items, and hits."""
    own.model.load_state_dict(state)
    seen, labels = own.seen(own.task), own.labels(rows)
    logits = own.shared.logits(own.embed(rows), seen)
    columns = torch.searchsorted(seen, labels)
    loss = cross_entropy(logits, columns, len(rows) * class_balance(columns).float())
    return ValidationScore(float(loss), int((logits.argmax(1) == columns).sum()))
