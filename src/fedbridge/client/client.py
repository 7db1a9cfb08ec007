"""One client: it learns from its private stream, uploads what is allowed, and measures itself."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedbridge.client import LEARNERS
from fedbridge.client.lesson import Lesson, Share
from fedbridge.client.memory import Memory, balanced, herding, merged, reservoir
from fedbridge.client.private import Indices, Private
from fedbridge.config import SMCF
from fedbridge.evaluation import Mixture, count_correct, fit_mixture
from fedbridge.models.commons import Commons
from fedbridge.models.head import Sums, one_hot, pack
from fedbridge.models.space import SmallModel, embed
from fedbridge.rng import seed_for
from fedbridge.wire import Broadcast, Evaluation, State, Step, Upload


class Client:
    """A client of the federation."""

    def __init__(self, private: Private, commons: Commons, model: str) -> None:
        self.name = private.stream.name
        self.private = private
        self.commons = commons
        self.model: SmallModel = commons.small_model(model, self.name)
        self.previous: State = {}
        self.notes: State = {}
        self.memory: Memory = {}
        self.task = 0
        self._shares: dict[str, Share] = {}

    def learn(self, broadcast: Broadcast) -> Upload:
        """Take in what the server sent, train for one round and return the upload."""
        step = Step(broadcast.task, broadcast.round)
        if broadcast.state:
            self.model.load_state_dict(broadcast.state)
        starts = step.task != self.task
        if starts:
            self._begin(step.task)
        lesson = self._lesson(step, broadcast)
        options = self.commons.config.learner
        learner = LEARNERS[options.name]
        self.model.train()
        learner.learn(lesson, options)
        if step.round == self.commons.config.training.rounds:
            learner.close(lesson, options)
            self._remember()
        self.model.eval()
        return self._upload(step, broadcast.heads, starts)

    def evaluate(self, broadcast: Broadcast) -> Evaluation:
        """Measure every predictor there is on every past task and on the next one."""
        if broadcast.state:
            self.model.load_state_dict(broadcast.state)
        after = broadcast.task
        mixture = self._mixture(after, broadcast.heads)
        rows = []
        for on, task in enumerate(self.private.stream.tasks, start=1):
            if on > after + 1 and after > 0:
                continue
            labels = self._labels(task.test)
            small, large = self._scores(task.test, broadcast.heads)
            scores = {"small": small}
            if self.commons.config.large.head != "none":
                scores |= {"large": large, "together": mixture(small, large)}
            seen, own = self._seen(max(after, on)), self._ids(task.classes)
            for predictor, score in scores.items():
                for protocol, classes in (("class-incremental", seen), ("task-aware", own)):
                    correct = count_correct(score, labels, classes)
                    rows.append((on, predictor, protocol, correct, len(labels)))
        return Evaluation(self.name, after, tuple(rows))

    def save(self, folder: Path) -> None:
        """Write all that the next round needs into the folder."""
        parts = {"model": self.model.state_dict(), "previous": self.previous, "notes": self.notes}
        arrays = {f"{part}/{k}": v for part, state in parts.items() for k, v in state.items()}
        arrays = {k: v.contiguous().cpu() for k, v in arrays.items()}
        save_file(arrays, folder / f"{self.name}.safetensors")
        memory = {str(c): rows.tolist() for c, rows in self.memory.items()}
        text = json.dumps({"task": self.task, "memory": memory})
        (folder / f"{self.name}.json").write_text(text, encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take up the state that ``save`` wrote."""
        arrays = load_file(folder / f"{self.name}.safetensors", device=str(self.commons.device))
        parts: dict[str, State] = {"model": {}, "previous": {}, "notes": {}}
        for name, tensor in arrays.items():
            part, _, key = name.partition("/")
            parts[part][key] = tensor
        self.model.load_state_dict(parts["model"])
        self.previous, self.notes = parts["previous"], parts["notes"]
        state = json.loads((folder / f"{self.name}.json").read_text(encoding="utf-8"))
        self.task = int(state["task"])
        self.memory = {int(c): np.array(r, np.int64) for c, r in state["memory"].items()}
        self._shares = {}

    def _begin(self, task: int) -> None:
        self.task = task
        self._shares = {}
        if task > 1:
            self.previous = self._state()

    def _state(self) -> State:
        return {k: v.detach().clone() for k, v in self.model.state_dict().items()}

    def _lesson(self, step: Step, broadcast: Broadcast) -> Lesson:
        if not self._shares:
            self._gather()
        mixture = self._guiding_mixture(step, broadcast.heads)
        head = broadcast.heads[0].to(self.commons.device)
        shares = {
            name: replace(share, guide=self._guide(name, share, head, mixture))
            for name, share in self._shares.items()
        }
        seen, new = self._seen(step.task), self._ids(self.private.task(step.task).classes)
        known = head.abs().sum(0) > 0
        seed = seed_for(self.commons.config.seed, "learn", self.name, *step)
        return Lesson(
            self.model,
            self.commons,
            **shares,
            seen=seen,
            new=new,
            old=seen[~torch.isin(seen, new)],
            taught=seen[known[seen]],
            generator=torch.Generator().manual_seed(seed),
            start=self._state(),
            former=self.previous,
            notes=self.notes,
            shared={k: v.to(self.commons.device) for k, v in broadcast.shared.items()},
        )

    def _gather(self) -> None:
        """Compute once per task what does not change during it."""
        train = self.private.task(self.task).train
        kept = np.concatenate([*self.memory.values(), np.zeros(0, np.int64)])
        earlier_self = self._earlier_self()
        public = self.commons.public_inputs
        nobody = np.full(len(public), -1)
        self._features = {
            "task": self._features_of(train),
            "memory": self._features_of(kept),
            "public": torch.from_numpy(self.commons.public_features).to(self.commons.device),
        }
        for name, inputs, labels, items in (
            ("task", self.private.inputs_of(train), self._labels(train), train),
            ("memory", self.private.inputs_of(kept), self._labels(kept), kept),
            ("public", public, self._ids(tuple(nobody)), nobody),
        ):
            x = inputs.to(self.commons.device)
            earlier = None if earlier_self is None or not len(x) else embed(earlier_self, x)
            self._shares[name] = Share(x, labels, earlier, torch.zeros(0), torch.from_numpy(items))

    def _earlier_self(self) -> SmallModel | None:
        if not self.previous or not LEARNERS[self.commons.config.learner.name].earlier:
            return None
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.previous)
        return model

    def _guiding_mixture(self, step: Step, heads: Tensor) -> Mixture:
        learner = self.commons.config.learner
        if not isinstance(learner, SMCF) or learner.guide == "large":
            return Mixture(0.0, getattr(learner, "sharpness", Mixture.large))
        # in a task's first round nobody knows its classes yet, and the fit would be misled
        return self._mixture(step.task - (step.round == 1), heads)

    def _guide(self, name: str, share: Share, head: Tensor, mixture: Mixture) -> Tensor:
        """Return the logits ``(n, C)`` that the large side's distillation aims at."""
        scores = self._features[name] @ head
        if not mixture.small or not len(share):
            return mixture.large * scores
        every = torch.arange(scores.shape[1], device=scores.device)
        return mixture(self.commons.logits(embed(self.model, share.inputs), every), scores).float()

    def _remember(self) -> None:
        """Keep exemplars of what the task brought, in the client's own storage only."""
        config = self.commons.config
        size, keep = getattr(config.learner, "memory", 0), getattr(config.learner, "keep", "")
        if not size:
            return
        rows = self.private.task(self.task).train
        offered = merged(self.memory, rows, self.private.labels[rows])
        place = config.seed, self.name
        if keep == "reservoir":
            scenario = config.scenario
            capacity = size * scenario.tasks * scenario.classes_per_task
            self.memory = reservoir(offered, capacity, *place)
        elif keep == "herding":
            self.memory = herding(offered, size, lambda r: self._embed(r).cpu().numpy())
        else:
            self.memory = balanced(offered, size, *place)

    def _upload(self, step: Step, heads: Tensor, starts: bool) -> Upload:
        upload = Upload(
            self.name,
            *step,
            state={k: v.cpu() for k, v in self._state().items()},
            seen=tuple(self._seen(step.task).tolist()),
            items=len(self.private.task(step.task).own),
            correct=self._validate(heads),
        )
        if getattr(self.commons.config.fusion, "pull", 0.0):
            upload = replace(upload, prototypes=self._prototypes(step.task))
        if not starts or self.commons.config.large.head == "none":
            return upload
        sums = self._sums(step.task)
        return replace(
            upload,
            gram=pack(sums.gram),
            cross=torch.from_numpy(sums.cross).float(),
            counts=torch.from_numpy(sums.counts).float(),
        )

    def _sums(self, task: int) -> Sums:
        own = self.private.task(task).own
        targets = one_hot(self.private.labels[own], len(self.commons.classes))
        return Sums.of(self.private.features_of(own), targets)

    def _prototypes(self, task: int) -> Tensor:
        """Return per class the sum of the task's embeddings and their number, ``(C, P + 1)``."""
        own = self.private.task(task).own
        embedding = self._embed(own).cpu()
        rows = torch.cat([embedding, torch.ones(len(own), 1)], 1)
        table = torch.zeros(len(self.commons.classes), rows.shape[1])
        return table.index_add(0, torch.from_numpy(self.private.labels[own]), rows)

    def _validate(self, heads: Tensor) -> Tensor:
        """Count, for every candidate head, the validation items it gets right."""
        rows = self.private.validation(self.task)
        z, labels = self._features_of(rows), self._labels(rows)
        seen = self._seen(self.task)
        counts = [count_correct(z @ head.to(z.device), labels, seen) for head in heads]
        return torch.tensor(counts, dtype=torch.float32)

    def _mixture(self, after: int, heads: Tensor) -> Mixture:
        rows = self.private.validation(after)
        if not len(rows):
            return Mixture()
        seen = self._seen(after)
        small, large = self._scores(rows, heads)
        columns = torch.searchsorted(seen, self._labels(rows))
        return fit_mixture(small[:, seen], large[:, seen], columns)

    def _scores(self, rows: Indices, heads: Tensor) -> tuple[Tensor, Tensor]:
        every = torch.arange(len(self.commons.classes), device=self.commons.device)
        large = self._features_of(rows) @ heads[0].to(self.commons.device)
        return self.commons.logits(self._embed(rows), every), large

    def _embed(self, rows: Indices) -> Tensor:
        return embed(self.model, self.private.inputs_of(rows).to(self.commons.device))

    def _features_of(self, rows: Indices) -> Tensor:
        return torch.from_numpy(self.private.features_of(rows)).to(self.commons.device)

    def _labels(self, rows: Indices) -> Tensor:
        return torch.from_numpy(self.private.labels[rows]).to(self.commons.device)

    def _seen(self, task: int) -> Tensor:
        return self.private.seen(task).to(self.commons.device)

    def _ids(self, classes: tuple[int, ...]) -> Tensor:
        return torch.tensor(sorted(classes), device=self.commons.device)
