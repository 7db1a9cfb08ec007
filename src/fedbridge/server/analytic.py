"""The large side with an analytic head over the frozen FM, fed by sums and by small models."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedbridge.evaluation import Mixture
from fedbridge.losses import mass_on, sureness
from fedbridge.models.commons import Commons
from fedbridge.models.head import Sums, unpack
from fedbridge.server.knowledge import Knowledge
from fedbridge.wire import State, Upload

Choice = tuple[int, int]  # places in large.regularisation and large.absorb


class Analytic:
    """Absorbs sums and small models; offers candidate heads and lets validation choose."""

    def __init__(self, commons: Commons, clients: tuple[str, ...]) -> None:
        self.commons = commons
        self.settings = commons.config.large
        size, classes = commons.lift.dimension, len(commons.classes)
        own = self.settings.scope == "client"
        self.sums = {name: Sums.zero(size, classes) for name in (clients if own else ("",))}
        self.soft = Sums.zero(size, classes)
        self.choice: Choice = (len(self.settings.regularisation) // 2, 0)
        self._offers: list[Choice] = [self.choice]
        self._votes = np.zeros(1)
        self._heads: dict[str, Tensor] = {}
        self._solved: dict[tuple[str, Choice], Tensor] = {}  # what no new sum has outdated
        self.solve()

    @property
    def sharpness(self) -> float:
        """Factor on scores that makes them logits."""
        return float(getattr(self.commons.config.learner, "sharpness", Mixture.large))

    def heads(self, client: str) -> Tensor:
        """Return the candidate heads ``(L, M, C)`` for a client; the first one is in force."""
        return self._heads[self._key(client)]

    def adapter(self, client: str) -> State:
        """Return nothing: no part of it is trained by gradient."""
        return {}

    def absorb(self, upload: Upload) -> None:
        """Add the sums of a client's new task and its validation counts of the candidates."""
        if len(upload.gram):
            gram = unpack(upload.gram, self.commons.lift.dimension)
            cross, counts = upload.cross.double().numpy(), upload.counts.double().numpy()
            key = self._key(upload.client)
            self.sums[key] = self.sums[key] + Sums(gram, cross, counts)
            self._solved = {at: head for at, head in self._solved.items() if at[0] != key}
        if len(upload.correct) == len(self._votes):
            self._votes = self._votes + upload.correct.double().numpy()

    def finish_round(self, models: list[Knowledge]) -> None:
        """Choose among the candidates by the votes, learn from the small models, solve anew."""
        self.choice = self._elect()
        if any(self.settings.absorb) and self.settings.scope == "federation":
            self.soft = self._learn_from(models)
            weights = self.settings.absorb
            self._solved = {at: w for at, w in self._solved.items() if not weights[at[1][1]]}
        self._offers = self._neighbours()
        self._votes = np.zeros(len(self._offers))
        self.solve()

    def solve(self) -> None:
        """Compute the candidate heads from the sums."""
        for key, sums in self.sums.items():
            for choice in self._offers:
                if (key, choice) not in self._solved:
                    head = torch.from_numpy(self._head(sums, choice)).float()
                    self._solved[key, choice] = head
            self._heads[key] = torch.stack([self._solved[key, c] for c in self._offers])

    def scores(self, client: str = "") -> Tensor:
        """Return the scores of the public set ``(|U|, C)`` under the head in force."""
        public = torch.from_numpy(self.commons.public_features)
        return public @ self._heads[self._key(client)][0]

    def save(self, folder: Path) -> None:
        """Write the sums and the choice into the folder."""
        arrays = {}
        for key, sums in {**self.sums, "soft": self.soft}.items():
            for part in ("gram", "cross", "counts"):
                arrays[f"{key}/{part}"] = torch.from_numpy(getattr(sums, part))
        save_file(arrays, folder / "large.safetensors")
        text = json.dumps({"choice": self.choice, "offers": self._offers})
        (folder / "large.json").write_text(text, encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take up what ``save`` wrote."""
        arrays = load_file(folder / "large.safetensors")
        parts = ("gram", "cross", "counts")
        read = {k: Sums(*(arrays[f"{k}/{p}"].numpy() for p in parts)) for k in (*self.sums, "soft")}
        self.soft = read.pop("soft")
        self.sums = read
        state = json.loads((folder / "large.json").read_text(encoding="utf-8"))
        self.choice = (state["choice"][0], state["choice"][1])
        self._offers = [(i, j) for i, j in state["offers"]]
        self._votes = np.zeros(len(self._offers))
        self._solved = {}
        self.solve()

    def _key(self, client: str) -> str:
        return client if self.settings.scope == "client" else ""

    def _head(self, sums: Sums, choice: Choice) -> NDArray[np.float64]:
        absorbed = self.settings.absorb[choice[1]]
        return self._fit(sums + self.soft.scaled(absorbed) if absorbed else sums, choice[0])

    def _fit(self, sums: Sums, strength: int) -> NDArray[np.float64]:
        if self.settings.head == "nearest-mean":
            return sums.nearest_mean()
        return sums.ridge(self.settings.regularisation[strength])

    def _neighbours(self) -> list[Choice]:
        """Return the choice in force and those that differ from it by one step in one setting."""
        if self.settings.head == "nearest-mean":
            return [self.choice]
        i, j = self.choice
        steps = [(i - 1, j), (i + 1, j), *((i, k) for k in range(len(self.settings.absorb)))]
        inside = [s for s in steps if 0 <= s[0] < len(self.settings.regularisation)]
        return [self.choice, *(step for step in inside if step != self.choice)]

    def _elect(self) -> Choice:
        """Return the candidate with most right answers, if it wins by more than chance would."""
        best = int(self._votes.argmax())
        margin = 0.5 * float(self._votes[0]) ** 0.5
        return self._offers[best if self._votes[best] > self._votes[0] + margin else 0]

    def _learn_from(self, models: list[Knowledge]) -> Sums:
        """Turn the small models' soft labels on U into sums, one by one (closed-form OBOD).

        A model teaches an item only where it is surer than the large side, weighted by its
        sureness and by how far the large side believes the item to be of the model's classes.
        """
        known = np.flatnonzero(sum(s.counts for s in self.sums.values()) > 0)
        sums = self.sums[next(iter(self.sums))] if len(self.sums) == 1 else _added(self.sums)
        base = torch.from_numpy(self._fit(sums, self.choice[0]))
        features = torch.from_numpy(self.commons.public_features).double()
        own = self.sharpness * (features @ base)[:, known]
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


def _added(sums: dict[str, Sums]) -> Sums:
    first, *rest = sums.values()
    for other in rest:
        first = first + other
    return first
