"""The large side with an analytic head over the frozen FM: sums, which clients solve for."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from fedbridge.files import read_json
from fedbridge.losses import mass_on, sureness
from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.models.head import Sums, UnsolvableError, packed, unpacked
from fedbridge.models.states import owned, read_state
from fedbridge.server.shares import Load, Share, share_of
from fedbridge.wire import State, Upload


class Analytic:
    """Adds up what clients send; everybody gets the sums anew after they have changed.

    No client's sums count more than ``large.most`` allows, see ``fedbridge.server.shares``.
    """

    def __init__(self, commons: SharedContext, clients: tuple[str, ...]) -> None:
        self.commons = commons
        self.settings = commons.config.large
        self.trained: State = {}
        self.sums = Sums.zero(commons.lift.dimension, len(commons.classes))
        self.soft = Sums.zero(commons.lift.dimension, len(commons.classes))
        self._version = 0
        self._sent = 0  # the version that this round's broadcasts hold
        self._held: dict[str, int] = {name: 0 for name in clients}
        self._loads: dict[str, Load] = {}
        self._waiting: list[tuple[str, int, State]] = []  # client, own task, sums of this round

    def adapter(self, client: str) -> State:
        """Return the sums, or nothing if the client already has them."""
        if self._held[client] == self._sent:
            return {}
        absorbed = self.settings.absorb
        sums = self.sums + self.soft.scaled(absorbed) if absorbed else self.sums
        parts = packed(sums)
        return parts if self.settings.head == "analytic" else parts | {"gram": torch.zeros(0)}

    def absorb(self, upload: Upload) -> None:
        """Keep the sums of a client's new task until all of the round are there."""
        self._held[upload.client] = self._sent
        if len(upload.cross):
            parts = {k: getattr(upload, k) for k in ("gram", "cross", "counts")}
            self._waiting.append((upload.client, min(upload.own, upload.task), parts))

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Add what came in, learn from the small models, and offer everybody what is new."""
        noted = self._add_up()
        if self.settings.absorbs:
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

    def _share(self, client: str, load: Load) -> Share:
        others = [other for name, other in self._loads.items() if name != client]
        return share_of(load, others, self.settings.most)

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
            setattr(self, key, Sums(*parts))
        state = read_json(folder / "large.json", "state of the head")
        self._version, self._sent = state["version"], state["sent"]
        self._held |= state["held"]
        self._loads = {name: Load(*load) for name, load in state.get("loads", {}).items()}

    def _learn_from(self, models: list[PublicPredictions]) -> Sums:
        """Turn the small models' soft labels on U into sums, one by one (closed-form OBOD).

        A model teaches an item only where it is surer than the large side, weighted by its
        sureness and by how far the large side believes the item to be of the model's classes.
        """
        known = np.flatnonzero(self.sums.counts > 0)
        middle = self.settings.regularisation[len(self.settings.regularisation) // 2]
        mean = self.settings.head == "nearest-mean"
        try:
            solution = self.sums.nearest_mean() if mean else self.sums.ridge(middle)
        except UnsolvableError:  # of sums that were taken in before they were looked at
            return self.soft
        base = owned(torch.from_numpy(solution))
        features = torch.from_numpy(self.commons.public_features).double()
        own = self.commons.sharpness * (features @ base)[:, known]
        size = (len(features), len(self.commons.classes))
        weights, targets = np.zeros(size[0]), np.zeros(size)
        for model in models:
            classes = torch.tensor(model.classes, device=model.embedding.device)
            logits = self.commons.logits(model.embedding, classes).double().cpu()
            sure = sureness(logits)
            belief = mass_on(own, torch.from_numpy(np.flatnonzero(np.isin(known, model.classes))))
            weight = (sure * belief * (sure > sureness(own)) * (belief > 0.5)).numpy()
            weights += weight
            targets[:, list(model.classes)] += weight[:, None] * logits.softmax(1).numpy()
        # every item's lessons merged into one weighted row: one product instead of K
        rows = targets / np.maximum(weights, 1e-12)[:, None]
        return Sums.of(self.commons.public_features, rows, weights)
