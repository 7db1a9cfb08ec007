"""One client: it learns from its private stream, uploads what is allowed, and measures itself."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from fedbridge.client.acceptance import accepted
from fedbridge.client.learning import learnt
from fedbridge.client.material import Material
from fedbridge.client.measuring import judge, measured
from fedbridge.client.memory import chosen, with_items
from fedbridge.client.private import Private
from fedbridge.client.state import ClientState
from fedbridge.client.uploading import upload_of
from fedbridge.core.errors import UserError
from fedbridge.core.projection import Sample
from fedbridge.core.rng import rng_for
from fedbridge.core.states import infinity, misfit, settled
from fedbridge.methods.context import SharedContext
from fedbridge.methods.registry import exchange_of, fusion_of, learner_of
from fedbridge.wire import Acceptance, Broadcast, Evaluation, Step, Upload


class FederatedClient(ClientState):
    """A client of the federation: its state, and what it does when it is asked."""

    def __init__(self, private: Private, shared: SharedContext, model: str) -> None:
        super().__init__(private, shared, model)
        self.accepted: tuple[int, ...] = ()
        self._material = Material(self)

    def learn(self, broadcast: Broadcast) -> Upload:
        """Take in what the server sent, train for one round and return the upload.

        Where nothing new is there to be learnt, or the model diverged, the upload has no state.
        """
        step = Step(broadcast.task, broadcast.round)
        self.take(broadcast)
        if not self.private.stream.takes_part(*step, self.shared.config.training.rounds):
            return Upload(self.name, *step, state={}, seen=tuple(self.seen(self.task).tolist()))
        number, before = self.private.stream.own_task(step.task), self.task
        if number != before:
            self._begin(number)
        context = self._material.context(step, broadcast, starts=number != before)
        ends = step.round == self.shared.config.training.rounds
        diverged = learnt(context, ends)
        if ends:
            self._remember()
        self.notes = settled(self.notes)
        upload = upload_of(self, step, before, broadcast.acknowledged)
        return replace(upload, state={}, diverged=diverged) if diverged else upload

    def evaluate(self, broadcast: Broadcast) -> Evaluation:
        """Measure every predictor there is on every past task and on the next one."""
        self.take(broadcast)
        after = self.private.stream.own_task(broadcast.task)
        unsolved = int(self.head.behind)
        return Evaluation(self.name, after, measured(self, after), self.accepted, unsolved)

    def sample(self, most: int) -> Sample:
        """Return class ids ``(n,)`` and embeddings ``(n, P)`` of some own test items.

        For whoever has all data anyway: no message carries them.
        """
        parts = [task.test for task in self.private.stream.tasks]
        rows = np.unique(np.concatenate([*parts, np.zeros(0, np.int64)]))
        drawn = rng_for(self.shared.config.seed, "sample", self.name).permutation(rows)[:most]
        return self.private.labels[drawn], self.embed(drawn).cpu().numpy()

    def load(self, folder: Path) -> None:
        """Take up the state that ``save`` wrote."""
        super().load(folder)
        self._material.renew()

    def take(self, broadcast: Broadcast) -> None:
        """Go on with what the server sent, and settle what is left to this client's choice.

        Raises UserError, before anything has changed, if it does not fit or is not finite.
        """
        config = self.shared.config
        self._check(broadcast)
        self.large.take(broadcast.adapter)
        self.head.take(broadcast.adapter)
        rows = self.private.validation(self.task)
        if len(rows) and not self.head.settled:
            self.head.select_hyperparameters(
                self.features(rows), self.labels(rows), self.seen(self.task)
            )
        fused = {k: v.to(self.shared.device) for k, v in broadcast.state.items()}
        self.accepted = ()
        if fused and self.offered and len(rows) and fusion_of(config).accept(config.fusion):
            choice = accepted(self.offered, fused, partial(judge, self, rows))
            right = choice.own.correct, choice.taken.correct
            self.accepted = Acceptance(broadcast.task, round(100 * choice.share), *right, len(rows))
            fused = choice.state
        if fused:
            exchange_of(config).from_download(self.model, fused, self.notes)

    def _check(self, broadcast: Broadcast) -> None:
        state = broadcast.state
        faults = {
            "state": misfit(state, self.model.state_dict()) if state else None,
            "adapter": infinity(broadcast.adapter),
            "shared": infinity(broadcast.shared),
        }
        for part, fault in faults.items():
            if fault:
                place = f"broadcast of task {broadcast.task}, round {broadcast.round}"
                raise UserError(f"{self.name}: {place}: {part}: {fault}")

    def _begin(self, task: int) -> None:
        self.task = task
        self._material.renew()
        if task > 1:
            self.previous = self.current()

    def _remember(self) -> None:
        """Keep exemplars of what the task brought, in the client's own storage only."""
        config = self.shared.config
        exemplars = learner_of(config).exemplars(config.learner)
        if not exemplars.per_class:
            return
        rows = self.private.task(self.task).train
        offered = with_items(self.memory, rows, self.private.labels[rows])
        stream = self.private.stream
        capacity = exemplars.per_class * len(stream.seen(len(stream.tasks)))
        self.memory = chosen(
            exemplars.keep,
            offered,
            capacity,
            (config.seed, self.name),
            lambda rows: self.embed(rows).cpu().numpy(),
        )
