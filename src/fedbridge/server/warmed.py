"""Warm starts on disk: what one run has distilled, others with the same public set need not."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file

from fedbridge.core.files import written
from fedbridge.core.states import misfit, read_state
from fedbridge.core.store import cache_folder, content_fingerprint, storage_errors
from fedbridge.methods.context import SharedContext
from fedbridge.models.fm.foundation import state_hash
from fedbridge.models.small.space import SmallModel, embed
from fedbridge.wire import State

FEW = 64
"""Public items whose first answers tell an architecture from another of the same name."""


def place_of(shared: SharedContext, model: str, student: SmallModel, source: str) -> Path:
    """Return the file of an architecture's warm start, named by all that it depends on.

    ``student`` is the model before it; ``source`` is the code that carries it out. This
    machine's arithmetic is part of the name: a run shall not depend on who filled the cache.
    """
    settings, small = shared.config, shared.config.small
    first = embed(student, shared.public_inputs[:FEW]).cpu().numpy()
    about = {
        "model": [model, repr(student), state_hash(student), _hash(first)],
        "public": [_hash(shared.public_inputs.cpu().numpy()), _hash(shared.public_features)],
        "settings": [settings.seed, settings.training.batch, small.warm_epochs, small.warm_lr],
        "arithmetic": [
            *(torch.__version__, np.__version__, torch.backends.cpu.get_cpu_capability()),
            *(str(shared.device), torch.get_num_threads()),
        ],
        "source": source,
    }
    return cache_folder() / "warm" / f"{content_fingerprint(about)}.safetensors"


def read(place: Path, student: SmallModel) -> State | None:
    """Return the state that was kept for a model, None if there is none that can be used."""
    try:
        state = read_state(place)
    except (OSError, SafetensorError):
        return None
    return None if misfit(state, student.state_dict()) else state


def keep(place: Path, state: State) -> None:
    """Write a state, at once or not at all; raise UserError if the cache cannot be written."""
    with storage_errors(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        with written(place, shared=True, synced=True) as draft:
            save_file({k: v.contiguous() for k, v in state.items()}, draft)


def _hash(array: NDArray[np.generic]) -> list[object]:
    digest = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
    return [str(array.dtype), array.shape, digest]
