"""A client by itself in a folder, from which it can go on learning."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fedbridge.data.scenario import Task
from fedbridge.errors import UserError
from fedbridge.methods.files import foreign_methods, parse_config
from fedbridge.models.states import read_state
from fedbridge.models.trust import require_trusted
from fedbridge.saved import MANIFEST, opened, saving
from fedbridge.solo.client import Client
from fedbridge.solo.settings import checked

KIND = "client"
ITEMS = "items.safetensors"
PARTS = ("classes", "train", "validation")
State = dict[str, Tensor]


def save_client(client: Client, folder: Path) -> None:
    """Write a client into a new folder, or in the place of one that was saved there."""
    learner, stream, shelf, (inputs, embeddings) = client.parts()
    arrays = {f"shelf/{name}": value for name, value in shelf.state().items()}
    arrays["public/inputs"] = torch.from_numpy(np.array(inputs))
    arrays["public/embeddings"] = torch.from_numpy(embeddings)
    for number, task in enumerate(stream.known):
        parts = (np.array(task.classes, np.int64), task.train, task.validation)
        for name, part in zip(PARTS, parts, strict=True):
            arrays[f"task/{number}/{name}"] = torch.from_numpy(part)
    config = client.config.model_dump(mode="json", exclude_none=True)
    about = {"config": config, "tasks": len(stream.known)}
    with saving(folder, KIND, about) as draft:
        learner.save(draft)
        save_file({name: value.contiguous() for name, value in arrays.items()}, draft / ITEMS)


def load_client(folder: Path, trust: Collection[str] = ()) -> Client:
    """Return the client in a folder as it was saved; ``trust`` is as for ``load_predictor``.

    Raises UserError naming the file if it is damaged or something else, or names a function of
    somebody's module that is not trusted.
    """
    about = opened(folder, KIND)
    tree = about.get("config", {})
    methods = [name for _, name in foreign_methods(tree)]
    require_trusted(folder / MANIFEST, (), None, trust, methods)
    config = checked(parse_config(tree, str(folder / MANIFEST)))
    require_trusted(folder / MANIFEST, config.small.models, config.large.model, trust)
    try:
        arrays: State = read_state(folder / ITEMS)
        client = Client.from_parts(
            config, arrays["public/inputs"].numpy(), arrays["public/embeddings"].numpy()
        )
        learner, stream, shelf, _ = client.parts()
        shelf.load(_below("shelf/", arrays))
        for number in range(int(about["tasks"])):
            found = _below(f"task/{number}/", arrays)
            classes, train, validation = (found[name].numpy() for name in PARTS)
            met = tuple(classes.tolist())
            nothing = np.zeros(0, np.int64)
            stream.known.append(Task(met, train, train, validation, nothing, met))
        learner.load(folder)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder}: cannot be read as a client: {error}") from error
    return client


def _below(prefix: str, arrays: State) -> State:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
