"""The client's part of the large side: features of its items, and what it trains by gradient."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from fedbridge.client.private import Indices, Private
from fedbridge.core.losses import require_finite
from fedbridge.core.rng import seed_for
from fedbridge.core.states import owned
from fedbridge.methods.context import SharedContext
from fedbridge.methods.heads import TrainableHead
from fedbridge.methods.registry import head_of
from fedbridge.models.fm.foundation import Items
from fedbridge.models.fm.tuning import Tunable, lifted, tunable
from fedbridge.models.optimiser import Uncompiled
from fedbridge.wire import State, Step


class LargePart:
    """The FM as one client sees it: frozen, or with the trained part that it was last sent."""

    def __init__(self, private: Private, shared: SharedContext) -> None:
        self.private = private
        self.shared = shared
        self.settings = shared.config.large
        self.tuned = self.settings.tuned is not None
        self.part: State = {}
        """What the server last sent of the FM's trained part."""

    def take(self, adapter: State) -> None:
        """Go on with the trained part of the FM that the server sent."""
        if self.tuned and adapter:
            beside = head_of(self.shared.config).sent
            self.part = {k: v for k, v in adapter.items() if k not in beside}

    def features_of(self, rows: Indices) -> Tensor:
        """Return features ``(n, M)`` of own items, encoded anew where the FM is tuned."""
        if not self.tuned:
            return owned(torch.from_numpy(self.private.features_of(rows))).to(self.shared.device)
        if not len(rows):
            return torch.zeros(0, self.shared.lift.dimension, device=self.shared.device)
        return self._lifted(self._fm().encode(self._items(rows), self.settings.batch))

    def public(self) -> Tensor:
        """Return features ``(|U|, M)`` of the public set."""
        items = self.shared.public_items
        if not self.tuned or items is None:
            return owned(torch.from_numpy(self.shared.public_features)).to(self.shared.device)
        return self._lifted(self._fm().encode(items, self.settings.batch))

    def train(self, rows: Indices, trainings: Sequence[TrainableHead], step: Step) -> State:
        """Train on own items one thing after the other; return what to upload.

        With tuning the loss of one that ``tunes`` goes through the FM into the part of it that is
        trained; the others find the FM as it then is. Raises DivergedError if one does not stay
        finite, of which nothing is kept.
        """
        labels = torch.from_numpy(self.private.labels[rows]).to(self.shared.device)
        seed = seed_for(self.shared.config.seed, "probe", self.private.stream.name, *step)
        generator = torch.Generator().manual_seed(seed)
        fm = self._fm() if self.tuned else None
        trained: State = dict(fm.part) if fm else {}
        for training in trainings:
            self._carry_out(training, rows, labels, fm, generator)
            trained |= training.trained(partial(self._all, rows, fm), labels)
        return {name: value.detach().cpu().clone() for name, value in trained.items()}

    def _carry_out(
        self,
        training: TrainableHead,
        rows: Indices,
        labels: Tensor,
        fm: Tunable | None,
        generator: torch.Generator,
    ) -> None:
        tuned = fm if training.tunes else None
        part = tuned.part if tuned else {}
        features = None if tuned else self._all(rows, fm)
        learnt = {"params": training.learnt, "lr": training.lr}
        groups = [learnt]
        if self.settings.tuned:
            groups.append({"params": list(part.values()), "lr": self.settings.tuned.lr})
        optimiser = Uncompiled(groups, weight_decay=0.0)
        steps = 0
        for _ in range(training.epochs):
            order = torch.randperm(len(rows), generator=generator)
            for batch in order.split(self.shared.config.training.batch):
                strain: Tensor | float = 0.0
                if tuned:
                    read = self._lifted(tuned(self._items(rows[batch.numpy()])))
                    strain = tuned.strain()
                else:
                    assert features is not None
                    read = features[batch.to(features.device)]
                loss = training.loss(read, labels[batch.to(labels.device)], part)
                loss = loss + strain
                steps += 1
                require_finite(loss, steps)
                optimiser.zero_grad()
                loss.backward()
                training.hold(labels, part)
                optimiser.step()
        for moved in (*training.learnt, *part.values()):
            require_finite(moved.detach().sum(), steps)

    def _all(self, rows: Indices, fm: Tunable | None) -> Tensor:
        """Return features of own items as an FM now is, whatever the server sent last."""
        if fm is None:
            return self.features_of(rows)
        return self._lifted(fm.encode(self._items(rows), self.settings.batch))

    def _fm(self) -> Tunable:
        """Return the FM of this process with the trained part that this client was last sent."""
        fm = tunable(self.settings, self.shared.device, self.shared.config.seed)
        fm.load(self.part)
        return fm

    def _items(self, rows: Indices) -> Items:
        assert self.private.items_of is not None
        return self.private.items_of(rows)

    def _lifted(self, embeddings: Tensor) -> Tensor:
        return lifted(self.shared.lift, embeddings)
