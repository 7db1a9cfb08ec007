"""Warm start: an architecture learns the FM's embeddings of U before the first task."""

import inspect
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from fedbridge.core.losses import DivergedError, distance, require_finite
from fedbridge.core.rng import seed_for
from fedbridge.methods.context import SharedContext
from fedbridge.models.optimiser import adamw
from fedbridge.models.small.space import as_input
from fedbridge.server import warmed
from fedbridge.wire import State

DECAY = 0.01  # of weights, per step and unit of the rate


def warm_start(shared: SharedContext, model: str) -> State:
    """Distil the FM's embeddings of U into one architecture; no labels, no private data.

    The targets are the leading principal components of the FM's features of U, ``(|U|, P)``,
    on the unit sphere. The rate rises and falls once (1cycle, arXiv 1708.07120). The outcome is
    kept in the cache: it is the same for all methods and clients. Raises DivergedError if it does
    not stay finite.
    """
    state = kept(shared, model)
    if state is None:
        state = distilled(shared, model)
        warmed.keep(_place(shared, model), state)
    return state


def kept(shared: SharedContext, model: str) -> State | None:
    """Return what the cache holds of an architecture's warm start, None if there is nothing."""
    return warmed.read(_place(shared, model), shared.small_model(model, model))


def tried_warm_start(shared: SharedContext, model: str) -> tuple[State, int]:
    """Return the state after a warm start; or none, and the step at which it diverged."""
    try:
        return warm_start(shared, model), 0
    except DivergedError as error:
        return {}, error.step


def distilled(shared: SharedContext, model: str) -> State:
    """Carry a warm start out, whatever the cache holds; raises DivergedError as ``warm_start``."""
    settings, student = shared.config, shared.small_model(model, model)
    targets = _principal(shared.public_features, settings.small.dimension).to(shared.device)
    optimiser = adamw(student.parameters(), settings.small.warm_lr, DECAY)
    steps = settings.small.warm_epochs * -(-len(targets) // settings.training.batch)
    course = OneCycleLR(optimiser, settings.small.warm_lr, total_steps=steps)
    generator = torch.Generator().manual_seed(seed_for(settings.seed, "warm", model))
    step = 0
    for _ in range(settings.small.warm_epochs):
        order = torch.randperm(len(targets), generator=generator)
        for rows in order.split(settings.training.batch):
            if len(rows) < 2:  # normalisation layers cannot learn from a single item
                continue
            u = rows.to(shared.device)
            loss = distance(targets[u], student(as_input(shared.public_inputs[u]))).mean()
            step += 1
            require_finite(loss, step)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            course.step()
    if shared.fault(student):
        raise DivergedError(step)
    return {k: v.detach().cpu().clone() for k, v in student.state_dict().items()}


def _place(shared: SharedContext, model: str) -> Path:
    source = inspect.getsource(sys.modules[__name__])
    return warmed.place_of(shared, model, shared.small_model(model, model), source)


def _principal(features: np.ndarray, dimension: int) -> torch.Tensor:
    centred = features - features.mean(0)
    _, _, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    leading = centred @ directions[:dimension].T
    padded = np.pad(leading, ((0, 0), (0, max(0, dimension - leading.shape[1]))))
    return F.normalize(torch.from_numpy(padded).float(), dim=1)
