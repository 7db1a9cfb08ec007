"""What a client is besides its data: what it has learnt, remembers and must find again."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fedbridge.client.large import LargePart
from fedbridge.client.memory import Memory
from fedbridge.client.private import Indices, Private
from fedbridge.core.files import file_name, read_json
from fedbridge.core.states import owned, read_state
from fedbridge.methods.context import SharedContext
from fedbridge.methods.registry import head_of
from fedbridge.models.small.space import SmallModel, embed
from fedbridge.wire import State


class ClientState:
    """Models, exemplars and notes of one client, and its items as they read them."""

    def __init__(self, private: Private, shared: SharedContext, model: str) -> None:
        self.name = private.stream.name
        self.private = private
        self.shared = shared
        self.model: SmallModel = shared.small_model(model, self.name)
        self.previous: State = {}
        self.offered: State = {}  # the model as it was last uploaded
        self.notes: State = {}
        self.memory: Memory = {}
        self.large = LargePart(private, shared)
        self.head = head_of(shared.config).client(shared, shared.config.large)
        self.task = 0

    def embed(self, rows: Indices) -> Tensor:
        """Return the small model's embeddings ``(n, P)`` of own items."""
        return embed(self.model, self.private.inputs_of(rows).to(self.shared.device))

    def features(self, rows: Indices) -> Tensor:
        """Return what the large side's head reads of own items, ``(n, M)``."""
        return self.large.features_of(rows)

    def labels(self, rows: Indices) -> Tensor:
        """Return the class ids ``(n,)`` of own items."""
        return torch.from_numpy(self.private.labels[rows]).to(self.shared.device)

    def seen(self, task: int) -> Tensor:
        """Return the ids of all classes met through a task, ascending."""
        return self.private.seen(task).to(self.shared.device)

    def ids(self, classes: tuple[int, ...]) -> Tensor:
        """Return class ids as an array, ascending."""
        return torch.tensor(sorted(classes), device=self.shared.device)

    def current(self) -> State:
        """Return the small model as it is, apart from what is trained further."""
        return {k: owned(v) for k, v in self.model.state_dict().items()}

    def save(self, folder: Path) -> None:
        """Write all that the next round needs into the folder."""
        parts = {
            "model": self.model.state_dict(),
            "previous": self.previous,
            "offered": self.offered,
            "notes": self.notes,
            "head": self.head.state(),
            "part": self.large.part,
        }
        arrays = {f"{part}/{k}": v for part, state in parts.items() for k, v in state.items()}
        arrays = {k: v.contiguous().cpu() for k, v in arrays.items()}
        save_file(arrays, folder / f"{file_name(self.name)}.safetensors")
        memory = {str(c): rows.tolist() for c, rows in self.memory.items()}
        stream = self.private.stream.state()
        text = json.dumps({"task": self.task, "memory": memory, "stream": stream})
        (folder / f"{file_name(self.name)}.json").write_text(text, encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take up the state that ``save`` wrote."""
        own = file_name(self.name)
        arrays = read_state(folder / f"{own}.safetensors", self.shared.device)
        names = ("model", "previous", "offered", "notes", "head", "part")
        parts: dict[str, State] = {name: {} for name in names}
        for name, tensor in arrays.items():
            part, _, key = name.partition("/")
            parts[part][key] = tensor
        self.model.load_state_dict(parts["model"])
        self.previous, self.offered = parts["previous"], parts["offered"]
        self.notes = parts["notes"]
        self.head.load(parts["head"])
        self.large.take(parts["part"])
        state = read_json(folder / f"{own}.json", f"state of {self.name!r}")
        self.private.stream.load(state["stream"])
        self.task = int(state["task"])
        self.memory = {int(c): np.array(r, np.int64) for c, r in state["memory"].items()}
