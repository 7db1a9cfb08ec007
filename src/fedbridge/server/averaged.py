"""The large side that clients train by gradient: the server averages what they send."""

from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import save_file

from fedbridge.files import file_name
from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.models.states import read_state
from fedbridge.models.tuning import tunable
from fedbridge.wire import State, Upload


class Averaged:
    """A linear probe on the FM and, where it is tuned, the trained part of the FM itself.

    Both are averaged as in FedAvg (AISTATS 2017, algorithm 1), weighted by training items;
    averaging LoRA's two matrices apart, as FedIT (ICASSP 2024) and PILoRA (ECCV 2024) do. With
    ``large.scope = "client"`` every client keeps its own.
    """

    def __init__(self, commons: SharedContext, clients: tuple[str, ...]) -> None:
        self.commons = commons
        self.settings = commons.config.large
        own = self.settings.scope == "client"
        size = (commons.lift.dimension, len(commons.classes))
        self.parts: dict[str, State] = {
            name: {"head": torch.zeros(size)} for name in (clients if own else ("",))
        }
        self._sums: dict[str, State] = {}
        self._weights: dict[str, int] = {}

    @cached_property
    def trained(self) -> State:
        """Return the head ``(M, C)`` and the trained part of the FM, as they were at first."""
        head = {"head": torch.zeros(self.commons.lift.dimension, len(self.commons.classes))}
        if self.settings.tuning == "none":
            return head
        return head | tunable(self.settings, self.commons.device, self.commons.config.seed).fresh

    def adapter(self, client: str) -> State:
        """Return the head, its logits over their sharpness, and the trained part of the FM."""
        part = self.parts[self._key(client)]
        return {**part, "head": part["head"] / self.commons.sharpness}

    def absorb(self, upload: Upload) -> None:
        """Add what a client trained to the sums, weighted by its training items."""
        key = self._key(upload.client)
        if not upload.adapter or not upload.items:
            return
        sums = self._sums.setdefault(key, {})
        for name, tensor in upload.adapter.items():
            sums[name] = sums.get(name, 0) + upload.items * tensor.double()
        self._weights[key] = self._weights.get(key, 0) + upload.items

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Replace every part by the mean of what came in; the small models teach it nothing."""
        for key, sums in self._sums.items():
            self.parts[key] = {k: (v / self._weights[key]).float() for k, v in sums.items()}
        self._sums, self._weights = {}, {}
        return []

    def save(self, folder: Path) -> None:
        """Write all parts into the folder."""
        arrays = {
            f"{_of_file(key)}/{k}": v for key, part in self.parts.items() for k, v in part.items()
        }
        save_file({k: v.contiguous() for k, v in arrays.items()}, folder / "large.safetensors")

    def load(self, folder: Path) -> None:
        """Take up what ``save`` wrote."""
        named = {_of_file(key): key for key in self.parts}
        self.parts = {key: {} for key in self.parts}
        for name, tensor in read_state(folder / "large.safetensors").items():
            key, _, part = name.partition("/")
            self.parts[named[key]][part] = tensor

    def _key(self, client: str) -> str:
        return client if self.settings.scope == "client" else ""


def _of_file(key: str) -> str:
    """Return what arrays of a client are called in a file; those of all have no client's name."""
    return file_name(key) if key else ""
