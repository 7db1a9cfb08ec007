"""Heads from sums, which clients solve for: how they are uploaded, checked and added up."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from fedbridge.config.models import Large
from fedbridge.config.section import Weight
from fedbridge.core.files import read_json
from fedbridge.core.losses import confidence, mass_on
from fedbridge.core.states import owned, read_state
from fedbridge.methods.context import SharedContext
from fedbridge.methods.counting import MOST, ROUNDING, count_faults
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.methods.shares import Load, WeightLimit, share_of
from fedbridge.models.statistics import (
    LOST,
    Array,
    SufficientStatistics,
    UnsolvableError,
    packed,
    possible,
    unpacked,
)
from fedbridge.wire import State, Upload

SUMS = ("gram", "cross", "counts")


class FromSums(Large):
    """What heads share that are made from sums."""

    most: Annotated[float, Field(ge=1.0, allow_inf_nan=False)] = 5.0
    """How many times more a client's sums of a task may weigh than the median of the others', in
    items and in squares of features; what is more is scaled down. It bounds what one client that
    lies can do to everybody's head."""
    student_weight: Weight = 0.0
    """Weight of the small models' soft labels on ``U`` in the head (OBOD with the large side as
    student); 0 switches it off."""

    @property
    def absorbs(self) -> float:
        """Return the weight of what the large side learns from the small models' answers on U."""
        return self.student_weight


class SummedUp:
    """Adds up what clients send; everybody gets the sums anew after they have changed.

    No client's sums count more than ``large.most`` allows, see ``fedbridge.methods.shares``.
    """

    def __init__(
        self,
        shared: SharedContext,
        clients: tuple[str, ...],
        options: FromSums,
        solve: Callable[[SufficientStatistics], Array],
        gram: bool = False,
    ) -> None:
        """Clients are sent G with ``gram`` only; ``solve`` gives the server a head of its own."""
        self.shared = shared
        self.options = options
        self.solve = solve
        self.gram = gram
        self.trained: State = {}
        self.sums = SufficientStatistics.zero(shared.lift.dimension, len(shared.classes))
        self.soft = SufficientStatistics.zero(shared.lift.dimension, len(shared.classes))
        self._version = 0
        self._sent = 0  # the version that this round's broadcasts hold
        self._held: dict[str, int] = {name: 0 for name in clients}
        self._loads: dict[str, Load] = {}
        self._waiting: list[tuple[str, int, State]] = []  # client, own task, sums of this round

    def adapter(self, client: str) -> State:
        """Return the sums, or nothing if the client already has them."""
        if self._held[client] == self._sent:
            return {}
        absorbed = self.options.student_weight
        sums = self.sums + self.soft.scaled(absorbed) if absorbed else self.sums
        parts = packed(sums)
        return parts if self.gram else parts | {"gram": torch.zeros(0)}

    def absorb(self, upload: Upload) -> None:
        """Keep the sums of a client's new task until all of the round are there."""
        self._held[upload.client] = self._sent
        if len(upload.cross):
            parts = {k: getattr(upload, k) for k in ("gram", "cross", "counts")}
            self._waiting.append((upload.client, min(upload.client_task, upload.task), parts))

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Add what came in, learn from the small models, and offer everybody what is new."""
        noted = self._add_up()
        if self.options.absorbs:
            self.soft = self._learn_from(models)
            self._version += 1
        self._sent = self._version
        return noted

    def _add_up(self) -> list[Noted]:
        """Add the sums of a round, each scaled as its client's share asks; note which were."""
        before, noted = self._loads, []
        waiting, self._waiting = self._waiting, []
        self._loads = dict(before)
        for client, own, parts in waiting:
            load = before.get(client, Load())
            self._loads[client] = load.plus(parts, max(1, own - load.tasks))
        if len(before) == 1:  # nobody was there yet with whom its sums could be compared
            ((client, load),) = before.items()
            share = self._share(client, load)
            if share.factor < 1.0:
                self.sums = self.sums.scaled(share.factor)
                noted.append(share.noted(client))
        for client, _, parts in waiting:
            share = self._share(client, self._loads[client].less(before.get(client, Load())))
            sums = unpacked(parts)
            if share.factor < 1.0:
                sums = sums.scaled(share.factor)
                noted.append(share.noted(client))
            self.sums = self.sums + sums
            self._version += 1
        return noted

    def _share(self, client: str, load: Load) -> WeightLimit:
        others = [other for name, other in self._loads.items() if name != client]
        return share_of(load, others, self.options.most)

    def save(self, folder: Path) -> None:
        """Write the sums, and who has which, into the folder."""
        arrays = {}
        for key, sums in {"sums": self.sums, "soft": self.soft}.items():
            for part in ("gram", "cross", "counts"):
                arrays[f"{key}/{part}"] = torch.from_numpy(getattr(sums, part))
        save_file(arrays, folder / "large.safetensors")
        about = {"version": self._version, "sent": self._sent, "held": self._held}
        text = json.dumps({**about, "loads": self._loads})
        (folder / "large.json").write_text(text, encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take up what ``save`` wrote."""
        arrays = read_state(folder / "large.safetensors")
        for key in ("sums", "soft"):
            parts = (arrays[f"{key}/{p}"].numpy() for p in ("gram", "cross", "counts"))
            setattr(self, key, SufficientStatistics(*parts))
        state = read_json(folder / "large.json", "state of the head")
        self._version, self._sent = state["version"], state["sent"]
        self._held |= state["held"]
        self._loads = {name: Load(*load) for name, load in state.get("loads", {}).items()}

    def _learn_from(self, models: list[PublicPredictions]) -> SufficientStatistics:
        """Turn the small models' soft labels on U into sums, one by one (closed-form OBOD).

        A model teaches an item only where it is more confident than the large side, weighted by its
        confidence and by how far the large side believes the item to be of the model's classes.
        """
        known = np.flatnonzero(self.sums.counts > 0)
        try:
            solution = self.solve(self.sums)
        except UnsolvableError:  # of sums that were taken in before they were looked at
            return self.soft
        base = owned(torch.from_numpy(solution))
        features = torch.from_numpy(self.shared.public_features).double()
        own = self.shared.sharpness * (features @ base)[:, known]
        size = (len(features), len(self.shared.classes))
        weights, targets = np.zeros(size[0]), np.zeros(size)
        for model in models:
            classes = torch.tensor(model.classes, device=model.embedding.device)
            logits = self.shared.logits(model.embedding, classes).double().cpu()
            sure = confidence(logits)
            belief = mass_on(own, torch.from_numpy(np.flatnonzero(np.isin(known, model.classes))))
            weight = (sure * belief * (sure > confidence(own)) * (belief > 0.5)).numpy()
            weights += weight
            targets[:, list(model.classes)] += weight[:, None] * logits.softmax(1).numpy()
        # every item's lessons merged into one weighted row: one product instead of K
        rows = targets / np.maximum(weights, 1e-12)[:, None]
        return SufficientStatistics.of(self.shared.public_features, rows, weights)


def sum_faults(upload: Upload, whole: bool, options: Large) -> Iterator[str]:
    """Yield what no honest client could have summed; of ``whole`` tasks every item is counted."""
    if not len(upload.counts):
        return
    yield from count_faults("counts", upload.counts, upload, whole)
    counts, cross = upload.counts.double(), upload.cross.double()
    if (beyond := cross.abs() > counts * MOST).any():
        yield f"cross: must be within counts times {MOST:g}, found {cross[beyond][0].item():g}"
    if len(upload.gram):
        yield from _gram(upload.gram.double(), cross, counts)
        if not possible({name: getattr(upload, name) for name in SUMS}):
            yield "gram, cross: must be sums of some items' features, found a negative eigenvalue"


def _gram(upper: Tensor, cross: Tensor, counts: Tensor) -> Iterator[str]:
    """Check what holds for all ``G = Z'Z`` and ``H = Z'Y``, row by row of the upper triangle."""
    size = len(cross)
    starts = [row * size - row * (row - 1) // 2 for row in range(size)]
    diagonal = upper[starts]
    if (diagonal < 0).any():
        yield f"gram: its diagonal must be at least 0, found {diagonal.min().item():g}"
    if (diagonal > counts.sum() * MOST**2).any():
        yield f"gram: features must be within {MOST:g}, found {diagonal.max():g}"
    lengths = (diagonal + LOST).sqrt() * (1 + ROUNDING)
    for row, start in enumerate(starts):
        products = upper[start : start + size - row].abs()
        if (products > lengths[row] * lengths[row:]).any():
            yield f"gram: no product may exceed its features' lengths, found one in row {row}"
    explained = (cross.square() / counts.clamp(min=1)).sum(1)
    if (explained > lengths.square()).any():
        yield "cross: class means must be within the features' lengths in gram, found longer ones"
