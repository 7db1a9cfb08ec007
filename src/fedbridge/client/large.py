"""The client's part of the large side: features of its items, and what it trains by gradient."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from fedbridge.client.pilora import Prototypes
from fedbridge.client.private import Indices, Private
from fedbridge.evaluation import sharpness_of
from fedbridge.losses import cross_entropy
from fedbridge.models.commons import Commons
from fedbridge.models.foundation import Items
from fedbridge.models.tuning import Part, Tunable, lifted, tunable
from fedbridge.rng import seed_for
from fedbridge.wire import State, Step


class Study(Protocol):
    """A head that is trained by gradient for one round."""

    weights: nn.Parameter  # (M, C)

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the loss of features ``(B, M)`` of classes ``(B,)``, and of the FM's part."""

    def hold(self, labels: Tensor, part: Part) -> None:
        """Take the slopes from what must stay, where the round's items are of these classes."""

    def trained(self) -> State:
        """Return what to upload."""


class Probe:
    """A linear probe: cross entropy over the seen classes."""

    def __init__(self, commons: Commons, head: Tensor, seen: Tensor, step: Step) -> None:
        self.seen = seen
        self.weights = nn.Parameter(head * sharpness_of(commons.config))

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the cross entropy of features ``(B, M)`` of classes ``(B,)``."""
        logits = (features @ self.weights)[:, self.seen]
        return cross_entropy(logits, torch.searchsorted(self.seen, labels))

    def hold(self, labels: Tensor, part: Part) -> None:
        """Let everything move."""

    def trained(self) -> State:
        """Return the head."""
        return {"head": self.weights}


STUDIES: dict[str, Callable[[Commons, Tensor, Tensor, Step], Study]] = {
    "probe": Probe,
    "prototypes": Prototypes,
}
"""By ``large.head``."""


class LargePart:
    """The FM as one client sees it: frozen, or with the trained part that it was last sent."""

    def __init__(self, private: Private, commons: Commons) -> None:
        self.private = private
        self.commons = commons
        self.settings = commons.config.large
        self.tuned = self.settings.tuning != "none"
        self.part: State = {}
        """What the server last sent of the FM's trained part."""

    def take(self, adapter: State) -> None:
        """Go on with the trained part of the FM that the server sent."""
        if self.tuned and adapter:
            self.part = adapter

    def features_of(self, rows: Indices) -> Tensor:
        """Return features ``(n, M)`` of own items, encoded anew where the FM is tuned."""
        if not self.tuned:
            return torch.from_numpy(self.private.features_of(rows)).to(self.commons.device)
        if not len(rows):
            return torch.zeros(0, self.commons.lift.dimension, device=self.commons.device)
        return self._lifted(self._fm().encode(self._items(rows), self.settings.batch))

    def public(self) -> Tensor:
        """Return features ``(|U|, M)`` of the public set."""
        items = self.commons.public_items
        if not self.tuned or items is None:
            return torch.from_numpy(self.commons.public_features).to(self.commons.device)
        return self._lifted(self._fm().encode(items, self.settings.batch))

    def train(self, rows: Indices, seen: Tensor, head: Tensor, step: Step) -> State:
        """Train the head in force ``(M, C)`` on own items for one round; return what to upload.

        Its loss is over the ``seen`` classes on the FM's features, and with tuning goes through
        the FM into the part of it that is trained.
        """
        config, device = self.commons.config, self.commons.device
        labels = torch.from_numpy(self.private.labels[rows]).to(device)
        study = STUDIES[self.settings.head](self.commons, head.to(device), seen, step)
        read, part = self._reader(rows)
        probe = {"params": [study.weights], "lr": self.settings.probe_rate}
        tuning = {"params": list(part.values()), "lr": self.settings.tuning_rate}
        optimiser = torch.optim.AdamW([probe, tuning], weight_decay=0.0)
        seed = seed_for(config.seed, "probe", self.private.stream.name, *step)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.settings.probe_epochs):
            order = torch.randperm(len(rows), generator=generator)
            for batch in order.split(config.training.batch):
                loss = study.loss(read(batch), labels[batch.to(device)], part)
                optimiser.zero_grad()
                loss.backward()
                study.hold(labels, part)
                optimiser.step()
        trained = {**study.trained(), **part}
        return {name: value.detach().cpu().clone() for name, value in trained.items()}

    def _reader(self, rows: Indices) -> tuple[Callable[[Tensor], Tensor], Part]:
        """Return what gives the features of a batch of places in ``rows``, and what it trains."""
        if not self.tuned:
            features = self.features_of(rows)
            return lambda batch: features[batch.to(features.device)], {}
        fm = self._fm()
        return lambda batch: self._lifted(fm(self._items(rows[batch.numpy()]))), fm.part

    def _fm(self) -> Tunable:
        """Return the FM of this process with the trained part that this client was last sent."""
        fm = tunable(self.settings, self.commons.device, self.commons.config.seed)
        fm.load(self.part)
        return fm

    def _items(self, rows: Indices) -> Items:
        assert self.private.items_of is not None
        return self.private.items_of(rows)

    def _lifted(self, embeddings: Tensor) -> Tensor:
        return lifted(self.commons.lift, embeddings)
