"""What a client studies in one round, gathered once so that a step costs one forward pass."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedbridge.client.measuring import mixture_of
from fedbridge.client.memory import kept
from fedbridge.client.state import ClientState
from fedbridge.core.rng import seed_for
from fedbridge.methods.context import ItemBatch, TrainContext
from fedbridge.methods.registry import exchange_of, fusion_of, learner_of
from fedbridge.models.calibration import Mixture
from fedbridge.models.small.space import SmallModel, embed
from fedbridge.wire import Broadcast, Step


class Material:
    """A task's items, the exemplars and the public set, with what its teachers say of them."""

    def __init__(self, own: ClientState) -> None:
        self.own = own
        self._shares: dict[str, ItemBatch] = {}
        self._features: dict[str, Tensor] = {}

    def renew(self) -> None:
        """Forget what was gathered, as another task begins."""
        self._shares, self._features = {}, {}

    def context(self, step: Step, broadcast: Broadcast, starts: bool) -> TrainContext:
        """Return what the learner is given in a round; ``starts`` where the task is new."""
        own = self.own
        if not self._shares:
            self._gather()
        if not self._features or own.large.tuned:
            self._features = self._read()
        # when a task starts nobody knows its classes yet, and the fit would be misled
        mixture = self._guiding_mixture(own.task - starts)
        shares = {
            name: replace(share, teacher_logits=self._guide(name, share, mixture))
            for name, share in self._shares.items()
        }
        seen, new = own.seen(own.task), own.ids(own.private.task(own.task).met)
        known = own.head.known
        config = own.shared.config
        learner, fusion = learner_of(config), fusion_of(config)
        ahead = learner.teach_unseen(config.learner)
        received = {k: v.to(own.shared.device) for k, v in broadcast.shared.items()}
        seed = seed_for(own.shared.config.seed, "learn", own.name, *step)
        return TrainContext(
            own.model,
            own.shared,
            **shares,
            seen=seen,
            new=new,
            old=own.seen(own.task - 1),
            taught=known if ahead else seen[torch.isin(seen, known)],
            generator=torch.Generator().manual_seed(seed),
            start=own.current(),
            former=own.previous,
            notes=own.notes,
            received=received,
            client=own.name,
            number=own.task,
            fusion_loss=fusion.loss and partial(fusion.loss, received, config.fusion),
            proximal=fusion.proximal(config.fusion),
            exchange=exchange_of(config),
        )

    def _gather(self) -> None:
        """Compute once per task what does not change during it."""
        own = self.own
        train = own.private.task(own.task).train
        remembered = kept(own.memory)
        earlier_self = self._earlier_self()
        public = own.shared.public_inputs
        nobody = np.full(len(public), -1)
        for name, inputs, labels, items in (
            ("task", own.private.inputs_of(train), own.labels(train), train),
            ("memory", own.private.inputs_of(remembered), own.labels(remembered), remembered),
            ("public", public, own.ids(tuple(nobody)), nobody),
        ):
            x = inputs.to(own.shared.device)
            earlier = None if earlier_self is None or not len(x) else embed(earlier_self, x)
            numbers = torch.from_numpy(items).to(x.device)
            self._shares[name] = ItemBatch(x, labels, earlier, torch.zeros(0), numbers)

    def _read(self) -> dict[str, Tensor]:
        """Return what the large side's head reads of the task's, remembered and public items."""
        own = self.own
        return {
            "task": own.features(own.private.task(own.task).train),
            "memory": own.features(kept(own.memory)),
            "public": own.large.public(),
        }

    def _earlier_self(self) -> SmallModel | None:
        own = self.own
        if not own.previous or not learner_of(own.shared.config).needs_old_model:
            return None
        model = copy.deepcopy(own.model)
        model.load_state_dict(own.previous)
        return model

    def _guiding_mixture(self, after: int) -> Mixture:
        config = self.own.shared.config
        if not learner_of(config).mixture_teaches(config.learner):
            return Mixture(0.0, self.own.shared.sharpness)
        return mixture_of(self.own, after)

    def _guide(self, name: str, share: ItemBatch, mixture: Mixture) -> Tensor:
        """Return the logits ``(n, C)`` that the large side's distillation aims at."""
        own = self.own
        scores = own.head.scores(self._features[name])
        if not mixture.small or not len(share):
            return mixture.large * scores
        every = torch.arange(scores.shape[1], device=scores.device)
        return mixture(own.shared.logits(embed(own.model, share.inputs), every), scores).float()
