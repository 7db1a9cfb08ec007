"""One client: it learns from its private stream, uploads what is allowed, and measures itself."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedbridge.client import LEARNERS
from fedbridge.client.lesson import Lesson, Share
from fedbridge.config import SMCF
from fedbridge.data.scenario import ClientStream
from fedbridge.evaluation import Mixture, count_correct, fit_mixture
from fedbridge.models.commons import Commons
from fedbridge.models.head import Sums, one_hot, pack
from fedbridge.models.space import SmallModel, embed
from fedbridge.rng import rng_for, seed_for
from fedbridge.wire import Broadcast, Evaluation, State, Step, Upload

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Private:
    """A client's own items, by index; they never leave it."""

    stream: ClientStream
    inputs_of: Callable[[Indices], Tensor]
    features_of: Callable[[Indices], NDArray[np.float32]]
    labels: NDArray[np.int64]


class Client:
    """A client of the federation."""

    def __init__(self, private: Private, commons: Commons, model: str) -> None:
        self.name = private.stream.name
        self.private = private
        self.commons = commons
        self.model: SmallModel = commons.small_model(model, self.name)
        self.previous: State = {}
        self.memory: dict[int, Indices] = {}  # class id -> exemplars
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
        lesson = self._lesson(step, broadcast.heads)
        self.model.train()
        learner = self.commons.config.learner
        LEARNERS[learner.name](lesson, learner)
        self.model.eval()
        if step.round == self.commons.config.training.rounds:
            self._remember()
        return self._upload(step, broadcast.heads, starts)

    def evaluate(self, broadcast: Broadcast) -> Evaluation:
        """Measure all three predictors on every past task and on the next one."""
        if broadcast.state:
            self.model.load_state_dict(broadcast.state)
        after, tasks = broadcast.task, self.private.stream.tasks
        mixture = self._mixture(after, broadcast.heads)
        rows = []
        for on, task in enumerate(tasks, start=1):
            if on > after + 1 and after > 0:
                continue
            labels = self._labels(task.test)
            small, large = self._scores(task.test, broadcast.heads)
            scores = {"small": small, "large": large, "together": mixture(small, large)}
            seen, own = self._seen(max(after, on)), self._ids(task.classes)
            for predictor, score in scores.items():
                for protocol, classes in (("class-incremental", seen), ("task-aware", own)):
                    correct = count_correct(score, labels, classes)
                    rows.append((on, predictor, protocol, correct, len(labels)))
        return Evaluation(self.name, after, tuple(rows))

    def save(self, folder: Path) -> None:
        """Write all that the next round needs into the folder."""
        arrays = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        arrays |= {f"previous/{k}": v for k, v in self.previous.items()}
        arrays = {k: v.contiguous().cpu() for k, v in arrays.items()}
        save_file(arrays, folder / f"{self.name}.safetensors")
        memory = {str(c): rows.tolist() for c, rows in self.memory.items()}
        text = json.dumps({"task": self.task, "memory": memory})
        (folder / f"{self.name}.json").write_text(text, encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take up the state that ``save`` wrote."""
        arrays = load_file(folder / f"{self.name}.safetensors", device=str(self.commons.device))
        parts: dict[str, State] = {"model": {}, "previous": {}}
        for name, tensor in arrays.items():
            part, _, key = name.partition("/")
            parts[part][key] = tensor
        self.model.load_state_dict(parts["model"])
        self.previous = parts["previous"]
        state = json.loads((folder / f"{self.name}.json").read_text(encoding="utf-8"))
        self.task = int(state["task"])
        self.memory = {int(c): np.array(r, np.int64) for c, r in state["memory"].items()}
        self._shares = {}

    def _begin(self, task: int) -> None:
        self.task = task
        self._shares = {}
        if task > 1:
            self.previous = {k: v.clone() for k, v in self.model.state_dict().items()}

    def _lesson(self, step: Step, heads: Tensor) -> Lesson:
        task = self.private.stream.tasks[step.task - 1]
        if not self._shares:
            self._gather(task.train)
        mixture = self._guiding_mixture(step, heads)
        head = heads[0].to(self.commons.device)
        shares = {
            name: replace(share, guide=self._guide(name, share, head, mixture))
            for name, share in self._shares.items()
        }
        seen, new = self._seen(step.task), self._ids(task.classes)
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
        )

    def _gather(self, train: Indices) -> None:
        """Compute once per task what does not change during it."""
        kept = np.concatenate([*self.memory.values(), np.zeros(0, np.int64)])
        previous = self._earlier_self()
        public = self.commons.public_inputs
        self._features = {
            "task": self._features_of(train),
            "memory": self._features_of(kept),
            "public": torch.from_numpy(self.commons.public_features).to(self.commons.device),
        }
        for name, inputs, labels in (
            ("task", self.private.inputs_of(train), self._labels(train)),
            ("memory", self.private.inputs_of(kept), self._labels(kept)),
            ("public", public, torch.full((len(public),), -1, device=self.commons.device)),
        ):
            x = inputs.to(self.commons.device)
            earlier = None if previous is None or not len(x) else embed(previous, x)
            self._shares[name] = Share(x, labels, earlier, torch.zeros(0))

    def _earlier_self(self) -> SmallModel | None:
        if not self.previous or not getattr(self.commons.config.learner, "previous", 0.0):
            return None
        import copy

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
        """Keep exemplars of the task's classes, in the client's own storage only."""
        size = getattr(self.commons.config.learner, "memory", 0)
        task = self.private.stream.tasks[self.task - 1]
        if not size:
            return
        for c in task.classes:
            rows = task.train[self.private.labels[task.train] == c]
            rng = rng_for(self.commons.config.seed, "memory", self.name, c)
            self.memory[c] = np.sort(rng.permutation(rows)[:size])

    def _upload(self, step: Step, heads: Tensor, starts: bool) -> Upload:
        state = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        seen = tuple(self._seen(step.task).tolist())
        correct = self._validate(heads)
        if not starts:
            return Upload(self.name, *step, state, seen, correct=correct)
        sums = self._sums(step.task)
        return Upload(
            self.name,
            *step,
            state,
            seen,
            gram=pack(sums.gram),
            cross=torch.from_numpy(sums.cross).float(),
            counts=torch.from_numpy(sums.counts).float(),
            correct=correct,
        )

    def _sums(self, task: int) -> Sums:
        own = self.private.stream.tasks[task - 1].own
        targets = one_hot(self.private.labels[own], len(self.commons.classes))
        return Sums.of(self.private.features_of(own), targets)

    def _validate(self, heads: Tensor) -> Tensor:
        """Count, for every candidate head, the validation items it gets right."""
        rows = self._validation(self.task)
        z, labels = self._features_of(rows), self._labels(rows)
        seen = self._seen(self.task)
        counts = [count_correct(z @ head.to(z.device), labels, seen) for head in heads]
        return torch.tensor(counts, dtype=torch.float32)

    def _mixture(self, after: int, heads: Tensor) -> Mixture:
        rows = self._validation(after)
        if not len(rows):
            return Mixture()
        seen = self._seen(after)
        small, large = self._scores(rows, heads)
        columns = torch.searchsorted(seen, self._labels(rows))
        return fit_mixture(small[:, seen], large[:, seen], columns)

    def _scores(self, rows: Indices, heads: Tensor) -> tuple[Tensor, Tensor]:
        embedding = embed(self.model, self.private.inputs_of(rows).to(self.commons.device))
        every = torch.arange(len(self.commons.classes), device=self.commons.device)
        large = self._features_of(rows) @ heads[0].to(self.commons.device)
        return self.commons.logits(embedding, every), large

    def _validation(self, task: int) -> Indices:
        parts = [t.validation for t in self.private.stream.tasks[:task]]
        return np.concatenate([*parts, np.zeros(0, np.int64)])

    def _features_of(self, rows: Indices) -> Tensor:
        return torch.from_numpy(self.private.features_of(rows)).to(self.commons.device)

    def _labels(self, rows: Indices) -> Tensor:
        return torch.from_numpy(self.private.labels[rows]).to(self.commons.device)

    def _seen(self, task: int) -> Tensor:
        tasks = self.private.stream.tasks[:task]
        return self._ids(tuple(sorted(c for t in tasks for c in t.classes)))

    def _ids(self, classes: tuple[int, ...]) -> Tensor:
        return torch.tensor(sorted(classes), device=self.commons.device)
