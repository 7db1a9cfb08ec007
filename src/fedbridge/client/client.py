"""One client: it learns from its private stream, uploads what is allowed, and measures itself."""

import copy
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fedbridge.client.acceptance import Verdict, accepted
from fedbridge.client.large import LargePart
from fedbridge.client.learning import learnt
from fedbridge.client.memory import Memory, balanced, herding, merged, reservoir
from fedbridge.client.private import Indices, Private
from fedbridge.errors import UserError
from fedbridge.evaluation import Mixture, class_balance, count_correct, fit_mixture
from fedbridge.files import file_name, read_json
from fedbridge.losses import DivergedError, cross_entropy
from fedbridge.methods.context import ItemBatch, OwnItems, SharedContext, TrainContext
from fedbridge.methods.exchange import Exchange
from fedbridge.methods.registry import declared, exchange_of, fusion_of, head_of, learner_of
from fedbridge.models.head import Sums, one_hot, packed
from fedbridge.models.space import SmallModel, embed
from fedbridge.models.states import infinity, misfit, owned, read_state, settled
from fedbridge.plane import Sample
from fedbridge.rng import rng_for, seed_for
from fedbridge.wire import Broadcast, Choice, Evaluation, State, Step, Upload


class Client:
    """A client of the federation."""

    def __init__(self, private: Private, commons: SharedContext, model: str) -> None:
        self.name = private.stream.name
        self.private = private
        self.commons = commons
        self.model: SmallModel = commons.small_model(model, self.name)
        self.previous: State = {}
        self.offered: State = {}  # the model as it was last uploaded
        self.notes: State = {}
        self.memory: Memory = {}
        self.large = LargePart(private, commons)
        self.head = head_of(commons.config).client(commons, commons.config.large)
        self.task = 0
        self.accepted: tuple[int, ...] = ()
        self._shares: dict[str, ItemBatch] = {}
        self._features: dict[str, Tensor] = {}

    def learn(self, broadcast: Broadcast) -> Upload:
        """Take in what the server sent, train for one round and return the upload.

        Where nothing new is there to be learnt, or the model diverged, the upload has no state.
        """
        step = Step(broadcast.task, broadcast.round)
        self.take(broadcast)
        if not self.private.stream.takes_part(*step, self.commons.config.training.rounds):
            return Upload(self.name, *step, state={}, seen=tuple(self._seen(self.task).tolist()))
        number, before = self.private.stream.own_task(step.task), self.task
        if number != before:
            self._begin(number)
        lesson = self._lesson(step, broadcast, starts=number != before)
        ends = step.round == self.commons.config.training.rounds
        diverged = learnt(lesson, ends)
        if ends:
            self._remember()
        self.notes = settled(self.notes)
        upload = self._upload(step, before, broadcast.acknowledged)
        return replace(upload, state={}, diverged=diverged) if diverged else upload

    def evaluate(self, broadcast: Broadcast) -> Evaluation:
        """Measure every predictor there is on every past task and on the next one."""
        self.take(broadcast)
        after = self.private.stream.own_task(broadcast.task)
        mixture = self.mixture(after) if self.commons.config.large.embeds else None
        on_validation = self.commons.config.scenario.measure == "validation"
        rows = []
        for on, task in enumerate(self.private.stream.tasks, start=1):
            if on > after + 1 and after > 0:
                continue
            items = task.validation if on_validation else task.test
            labels = self._labels(items)
            scores = {"small": self._small_scores(items)}
            if mixture is not None:
                large = self.head.scores(self._features_of(items))
                scores |= {"large": large, "together": mixture(scores["small"], large)}
            seen, own = self._seen(max(after, on)), self._ids(task.classes)
            for predictor, score in scores.items():
                for protocol, classes in (("class-incremental", seen), ("task-aware", own)):
                    correct = count_correct(score, labels, classes)
                    rows.append((on, predictor, protocol, correct, len(labels)))
        unsolved = int(self.head.behind)
        return Evaluation(self.name, after, tuple(rows), self.accepted, unsolved)

    def sample(self, most: int) -> Sample:
        """Return class ids ``(n,)`` and embeddings ``(n, P)`` of some own test items.

        For whoever has all data anyway: no message carries them.
        """
        parts = [task.test for task in self.private.stream.tasks]
        rows = np.unique(np.concatenate([*parts, np.zeros(0, np.int64)]))
        drawn = rng_for(self.commons.config.seed, "sample", self.name).permutation(rows)[:most]
        return self.private.labels[drawn], self._embed(drawn).cpu().numpy()

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
        arrays = read_state(folder / f"{own}.safetensors", self.commons.device)
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
        self._shares, self._features = {}, {}

    def take(self, broadcast: Broadcast) -> None:
        """Go on with what the server sent, and settle what is left to this client's choice.

        Raises UserError, before anything has changed, if it does not fit or is not finite.
        """
        self._check(broadcast)
        self.large.take(broadcast.adapter)
        self.head.take(broadcast.adapter)
        rows = self.private.validation(self.task)
        if len(rows) and not self.head.settled:
            self.head.select_hyperparameters(
                self._features_of(rows), self._labels(rows), self._seen(self.task)
            )
        fused = {k: v.to(self.commons.device) for k, v in broadcast.state.items()}
        self.accepted = ()
        if fused and self.offered and len(rows) and self._chooses:
            choice = accepted(self.offered, fused, partial(self._judge, rows))
            right = choice.own.correct, choice.taken.correct
            self.accepted = Choice(broadcast.task, round(100 * choice.share), *right, len(rows))
            fused = choice.state
        if fused:
            self._exchange.from_download(self.model, fused, self.notes)

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

    @property
    def _exchange(self) -> Exchange:
        """Return how the model travels: in a way of its own if learner and fusion share one."""
        return exchange_of(self.commons.config)

    @property
    def _chooses(self) -> bool:
        return fusion_of(self.commons.config).accept(self.commons.config.fusion)

    def _judge(self, rows: Indices, state: State) -> Verdict:
        """Return the class-balanced loss of a small model on own validation items, and hits."""
        self.model.load_state_dict(state)
        seen, labels = self._seen(self.task), self._labels(rows)
        logits = self.commons.logits(self._embed(rows), seen)
        columns = torch.searchsorted(seen, labels)
        loss = cross_entropy(logits, columns, len(rows) * class_balance(columns).float())
        return Verdict(float(loss), int((logits.argmax(1) == columns).sum()))

    def _begin(self, task: int) -> None:
        self.task = task
        self._shares, self._features = {}, {}
        if task > 1:
            self.previous = self._state()

    def _state(self) -> State:
        return {k: owned(v) for k, v in self.model.state_dict().items()}

    def _lesson(self, step: Step, broadcast: Broadcast, starts: bool) -> TrainContext:
        if not self._shares:
            self._gather()
        if not self._features or self.large.tuned:
            self._features = self._read()
        # when a task starts nobody knows its classes yet, and the fit would be misled
        mixture = self._guiding_mixture(self.task - starts)
        shares = {
            name: replace(share, guide=self._guide(name, share, mixture))
            for name, share in self._shares.items()
        }
        seen, new = self._seen(self.task), self._ids(self.private.task(self.task).met)
        known = self.head.known
        config = self.commons.config
        learner, fusion = learner_of(config), fusion_of(config)
        ahead = learner.teach_unseen(config.learner)
        received = {k: v.to(self.commons.device) for k, v in broadcast.shared.items()}
        seed = seed_for(self.commons.config.seed, "learn", self.name, *step)
        return TrainContext(
            self.model,
            self.commons,
            **shares,
            seen=seen,
            new=new,
            old=self._seen(self.task - 1),
            taught=known if ahead else seen[torch.isin(seen, known)],
            generator=torch.Generator().manual_seed(seed),
            start=self._state(),
            former=self.previous,
            notes=self.notes,
            received=received,
            client=self.name,
            number=self.task,
            fusion_loss=fusion.loss and partial(fusion.loss, received, config.fusion),
            proximal=fusion.proximal(config.fusion),
            exchange=self._exchange,
        )

    def _gather(self) -> None:
        """Compute once per task what does not change during it."""
        train = self.private.task(self.task).train
        kept = self._kept()
        earlier_self = self._earlier_self()
        public = self.commons.public_inputs
        nobody = np.full(len(public), -1)
        for name, inputs, labels, items in (
            ("task", self.private.inputs_of(train), self._labels(train), train),
            ("memory", self.private.inputs_of(kept), self._labels(kept), kept),
            ("public", public, self._ids(tuple(nobody)), nobody),
        ):
            x = inputs.to(self.commons.device)
            earlier = None if earlier_self is None or not len(x) else embed(earlier_self, x)
            numbers = torch.from_numpy(items).to(x.device)
            self._shares[name] = ItemBatch(x, labels, earlier, torch.zeros(0), numbers)

    def _read(self) -> dict[str, Tensor]:
        """Return what the large side's head reads of the task's, remembered and public items."""
        return {
            "task": self._features_of(self.private.task(self.task).train),
            "memory": self._features_of(self._kept()),
            "public": self.large.public(),
        }

    def _kept(self) -> Indices:
        return np.concatenate([*self.memory.values(), np.zeros(0, np.int64)])

    def _earlier_self(self) -> SmallModel | None:
        if not self.previous or not learner_of(self.commons.config).needs_old_model:
            return None
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.previous)
        return model

    def _guiding_mixture(self, after: int) -> Mixture:
        config = self.commons.config
        if not learner_of(config).mixture_teaches(config.learner):
            return Mixture(0.0, self.commons.sharpness)
        return self.mixture(after)

    def _guide(self, name: str, share: ItemBatch, mixture: Mixture) -> Tensor:
        """Return the logits ``(n, C)`` that the large side's distillation aims at."""
        scores = self.head.scores(self._features[name])
        if not mixture.small or not len(share):
            return mixture.large * scores
        every = torch.arange(scores.shape[1], device=scores.device)
        return mixture(self.commons.logits(embed(self.model, share.inputs), every), scores).float()

    def _remember(self) -> None:
        """Keep exemplars of what the task brought, in the client's own storage only."""
        config = self.commons.config
        exemplars = learner_of(config).exemplars(config.learner)
        if not exemplars.per_class:
            return
        rows = self.private.task(self.task).train
        offered = merged(self.memory, rows, self.private.labels[rows])
        stream, place = self.private.stream, (config.seed, self.name)
        capacity = exemplars.per_class * len(stream.seen(len(stream.tasks)))
        if exemplars.keep == "reservoir":
            self.memory = reservoir(offered, capacity, *place)
        elif exemplars.keep == "herding":
            self.memory = herding(offered, capacity, lambda r: self._embed(r).cpu().numpy())
        else:
            self.memory = balanced(offered, capacity, *place)

    def _upload(self, step: Step, before: int, acknowledged: int) -> Upload:
        """Return what to upload; own tasks through ``before`` are in the client's own head."""
        self.offered = self._state()
        upload = Upload(
            self.name,
            *step,
            state={
                k: v.cpu() for k, v in self._exchange.to_upload(self.offered, self.notes).items()
            },
            seen=tuple(self._seen(self.task).tolist()),
            items=len(self.private.task(self.task).own),
            own=self.task,
        )
        upload = replace(upload, extra=self._extra())
        large = self.commons.config.large
        rows = self.private.task(self.task).train
        if trainings := self.head.trainable(self._labels(rows), self._seen(self.task), step):
            try:
                return replace(upload, adapter=self.large.train(rows, trainings, step))
            except DivergedError as error:
                return replace(upload, diverged=error.step)
        wanted = head_of(self.commons.config).sums
        if not wanted:
            return upload
        own = self.private.released(before, self.task, least=1)
        sums = self._sums(own)
        if len(own):
            self.head.add(sums)
        if large.scope == "client" or acknowledged >= self.task:
            return upload
        rows = self.private.released(acknowledged, self.task, large.least)
        parts = packed(sums if np.array_equal(rows, own) else self._sums(rows))
        sent: dict[str, Any] = {name: parts[name] for name in wanted}
        return replace(upload, **sent)

    def _sums(self, rows: Indices) -> Sums:
        targets = one_hot(self.private.labels[rows], len(self.commons.classes))
        return Sums.of(self.private.features_of(rows), targets)

    def _extra(self) -> State:
        """Return what the fusion asks for besides the model, no more than declared."""
        config, extra = self.commons.config, fusion_of(self.commons.config).extra
        if extra is None:
            return {}
        rows = self.private.task(self.task).own
        inputs = self.private.inputs_of(rows).to(self.commons.device)
        own = OwnItems(self.commons, self.model, inputs, self._labels(rows))
        made = {k: v.detach().cpu() for k, v in extra.make(own, config.fusion).items()}
        if fault := misfit(made, declared(self.commons)):
            raise UserError(f"{config.fusion.name}: extra: {fault}")
        return made

    def mixture(self, after: int) -> Mixture:
        """Return the powers of both sides that fit the validation items through a task best."""
        rows = self.private.validation(after)
        if not len(rows):
            return Mixture()
        seen = self._seen(after)
        small, large = self._scores(rows)
        columns = torch.searchsorted(seen, self._labels(rows))
        return fit_mixture(small[:, seen], large[:, seen], columns)

    def _scores(self, rows: Indices) -> tuple[Tensor, Tensor]:
        return self._small_scores(rows), self.head.scores(self._features_of(rows))

    def _small_scores(self, rows: Indices) -> Tensor:
        """Return logits ``(n, C)``; classes of earlier tasks are those of their models, if any."""
        every = torch.arange(len(self.commons.classes), device=self.commons.device)
        scores = self.commons.logits(self._embed(rows), every)
        recall = learner_of(self.commons.config).task_model
        if recall is None or self.task < 2:
            return scores
        model, inputs = copy.deepcopy(self.model), self.private.inputs_of(rows).to(scores.device)
        current = self.private.task(self.task).classes
        for number in range(1, self.task):
            state = recall(self.notes, number)
            own = set(self.private.task(number).classes) - set(current)
            if state and own:
                model.load_state_dict(state)
                classes = self._ids(tuple(own))
                scores[:, classes] = self.commons.logits(embed(model, inputs), classes)
        return scores

    def _embed(self, rows: Indices) -> Tensor:
        return embed(self.model, self.private.inputs_of(rows).to(self.commons.device))

    def _features_of(self, rows: Indices) -> Tensor:
        return self.large.features_of(rows)

    def _labels(self, rows: Indices) -> Tensor:
        return torch.from_numpy(self.private.labels[rows]).to(self.commons.device)

    def _seen(self, task: int) -> Tensor:
        return self.private.seen(task).to(self.commons.device)

    def _ids(self, classes: tuple[int, ...]) -> Tensor:
        return torch.tensor(sorted(classes), device=self.commons.device)
