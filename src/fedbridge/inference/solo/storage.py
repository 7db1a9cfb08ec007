"""A client by itself in a folder, from which it can go on learning."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.core.saved import MANIFEST, opened, saving
from fedbridge.core.states import read_state
from fedbridge.data.readers.reading import Inputs
from fedbridge.data.streams.scenario import Task
from fedbridge.inference.solo.settings import checked
from fedbridge.methods.config import Config
from fedbridge.methods.files import foreign_methods, parse_config
from fedbridge.models.trust import require_trusted

KIND = "client"
ITEMS = "items.safetensors"
PARTS = ("classes", "train", "validation")
State = dict[str, Tensor]


@dataclass(frozen=True)
class Saved:
    """A client by itself, as it lies in a folder; arrays by name."""

    config: Config
    public: tuple[Inputs, NDArray[np.float32]]
    """What small models read of the public set, and its embeddings ``(|U|, D)``."""
    shelf: State
    tasks: list[Task]


def save_client(folder: Path, saved: Saved, learner: Callable[[Path], None]) -> None:
    """Write a client into a new folder, or in the place of one that was saved there.

    ``learner`` writes what the client has learnt into a folder.
    """
    inputs, embeddings = saved.public
    arrays = {f"shelf/{name}": value for name, value in saved.shelf.items()}
    arrays["public/inputs"] = torch.from_numpy(np.array(inputs))
    arrays["public/embeddings"] = torch.from_numpy(embeddings)
    for number, task in enumerate(saved.tasks):
        parts = (np.array(task.classes, np.int64), task.train, task.validation)
        for name, part in zip(PARTS, parts, strict=True):
            arrays[f"task/{number}/{name}"] = torch.from_numpy(part)
    config = saved.config.model_dump(mode="json", exclude_none=True)
    with saving(folder, KIND, {"config": config, "tasks": len(saved.tasks)}) as draft:
        learner(draft)
        save_file({name: value.contiguous() for name, value in arrays.items()}, draft / ITEMS)


def read_client(folder: Path, trust: Collection[str]) -> Saved:
    """Return what lies in a folder; see ``Client.load``."""
    about = opened(folder, KIND)
    tree = about.get("config", {})
    methods = [name for _, name in foreign_methods(tree)]
    require_trusted(folder / MANIFEST, (), None, trust, methods)
    config = checked(parse_config(tree, str(folder / MANIFEST)))
    require_trusted(folder / MANIFEST, config.small.models, config.large.model, trust)
    with unreadable(folder):
        arrays: State = read_state(folder / ITEMS)
        tasks = [_task(_below(f"task/{k}/", arrays)) for k in range(int(about["tasks"]))]
        public = arrays["public/inputs"].numpy(), arrays["public/embeddings"].numpy()
        return Saved(config, public, _below("shelf/", arrays), tasks)


@contextmanager
def unreadable(folder: Path) -> Iterator[None]:
    """Turn whatever a folder breaks that holds no client into a UserError."""
    try:
        yield
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder}: cannot be read as a client: {error}") from error


def _task(arrays: State) -> Task:
    classes, train, validation = (arrays[name].numpy() for name in PARTS)
    met = tuple(classes.tolist())
    return Task(met, train, train, validation, np.zeros(0, np.int64), met)


def _below(prefix: str, arrays: State) -> State:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
