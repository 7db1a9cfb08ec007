"""Learning on the public set what several models say of it together.

Nothing is assumed of U: it need not hold items of the clients' classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fedbridge.config.section import Batch, Options, Positive, Rate
from fedbridge.core.losses import divergence
from fedbridge.core.rng import seed_for
from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import MapJobs, PublicPredictions, RoundUploads
from fedbridge.models.optimiser import adamw
from fedbridge.models.small.space import as_input
from fedbridge.wire import State

UNKNOWN = -1e4  # the logit of a class nobody speaks for: probability 0, and yet finite


class Digest(Options):
    """How long and how fast models are trained on ``U``."""

    epochs: Positive = 1
    """Passes over ``U`` per round."""
    batch: Batch = 64
    """Public items per step; normalisation layers need two at least."""
    lr: Rate = 0.00025
    """Learning rate of AdamW."""


@dataclass(frozen=True)
class Course:
    """A model and the answers on U that it shall come to give."""

    model: str
    """Entry of SMALL_MODELS."""
    state: State
    classes: Tensor  # (C',), class ids, ascending
    answers: Tensor  # (|U|, C'), logits
    seed: int
    options: Digest


def consensus(models: list[PublicPredictions], shared: SharedContext, weights: Tensor) -> Tensor:
    """Return the weighted mean of the models' logits on U, ``(|U|, C)``; ``weights (K, |U|)``.

    The mean of a class is over the models that have seen it; ``UNKNOWN`` where none has.
    """
    size = (len(shared.public_inputs), len(shared.classes))
    total = torch.zeros(size, dtype=torch.float64, device=shared.device)
    weight = torch.zeros_like(total)
    for model, each in zip(models, weights, strict=True):
        classes = torch.tensor(model.classes, device=shared.device)
        own = each.double()[:, None].expand(-1, len(classes))
        total[:, classes] += own * shared.logits(model.embedding, classes).double()
        weight[:, classes] += own
    return torch.where(weight > 0, total / weight.clamp(min=1e-30), UNKNOWN).float()


def equal_weight_consensus(models: list[PublicPredictions], shared: SharedContext) -> Tensor:
    """Return the consensus ``(|U|, C)`` in which all models have the same weight."""
    ones = torch.ones(len(models), len(shared.public_inputs), device=shared.device)
    return consensus(models, shared, ones)


def known_to(models: list[PublicPredictions], shared: SharedContext) -> Tensor:
    """Return the ids of all classes that any of the models has seen, ascending."""
    classes = sorted({c for model in models for c in model.classes})
    return torch.tensor(classes, dtype=torch.long, device=shared.device)


def teach_all(
    round_: RoundUploads,
    answers: Tensor,
    shared: SharedContext,
    options: Digest,
    map_jobs: MapJobs,
) -> dict[str, State]:
    """Train each client's model towards answers ``(|U|, C)`` over the classes it has seen."""
    courses = []
    for student in round_.students:
        classes = known_to([student.predictions], shared)
        seed = seed_for(shared.config.seed, "fuse", student.name, *round_.step)
        course = Course(student.model, student.state, classes, answers[:, classes], seed, options)
        courses.append(course)
    names = [student.name for student in round_.students]
    return dict(zip(names, map_jobs(follow, courses), strict=True))


def follow(shared: SharedContext, course: Course) -> State:
    """Minimise ``KL(answers || model)`` on U and return the new state; a pure function."""
    options = course.options
    if len(course.classes) < 2:  # then there is but one answer
        return course.state
    model = shared.small_model(course.model, course.model)
    model.load_state_dict(course.state)
    model.train()
    optimiser = adamw(model.parameters(), options.lr, 0.0)
    generator = torch.Generator().manual_seed(course.seed)
    for u in batches(shared, options.epochs, options.batch, generator):
        logits = shared.logits(model(as_input(shared.public_inputs[u])), course.classes)
        loss = divergence(course.answers[u], logits).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}


def batches(
    shared: SharedContext, epochs: int, size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield places in U, in a new order in every epoch; a last batch of one is dropped."""
    for _ in range(epochs):
        order = torch.randperm(len(shared.public_inputs), generator=generator)
        for rows in order.split(size):
            if len(rows) > 1:  # normalisation layers cannot learn from a single item
                yield rows.to(shared.device)
