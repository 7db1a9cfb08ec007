"""FedTA (Yu et al., CVPR 2025): tail anchors beside a frozen FM's features.

Clients: features z of an item get the anchor t_s beside them whose key k_s has the largest cosine
with z (equation 4): f = [z; t_s]. A classifier reads f. Its loss, for items of class y (equation
6), is

    cross entropy + contrast * -log softmax_c(cos(f, G_c) / 0.2)_y + attract * (1 - cos(z, k_s))

over the task's classes and, in the second term (equation 5), over the prototypes G_c that the
server has selected. What is uploaded is each class's mean of f (equation 7), taken when training is
over. With ``large.tuning = "pool"`` the input enhancement (equation 3) comes first: prompts and
their keys with a linear classifier of the task's classes, which nobody else sees.

The mixture is by concatenation and the classifier, one for each task, has a hidden layer of 512
units with dropout, as in the authors' public code; so are the weights of the terms, and keys and
anchors, which go on from task to task. A class is scored by the classifier of the last task that
had it. Adapted: z are standardised as for the other heads here; all clients start from the same
anchors. Left out: weight decay, and what the public code does instead of equation 5 in the last
round of a task.

Server: *best global prototype selection* (equations 9 and 10). All prototypes there are in a
round, what clients sent and what was selected before, are compared by their cosines; two of one
class count as equal, 1. Of a class's own, the one with the lowest mean is selected, and for good
once that mean is below ``large.threshold``. As in the authors' public code, one that was selected
is a candidate in later rounds; left out is that the code also settles all of them in the last
round but one.

*Selective input knowledge fusion* (equation 8), with ``large.tuning = "pool"``. One client's
prompts, drawn by lot, learn to give the features on U that those of the others give:

    1/(K - 1) sum_j |V_i(u) - V_j(u)|^2,   u from U

whose slope is that of the squared distance to the others' mean. Passes are ``large.probe_epochs``.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedbridge.config.models import PooledLarge, TrainedLarge
from fedbridge.config.section import Positive, Scale, Weight
from fedbridge.core.losses import cross_entropy
from fedbridge.core.rng import seed_for
from fedbridge.core.states import infinity
from fedbridge.methods.context import SharedContext
from fedbridge.methods.heads import TrainableHead
from fedbridge.methods.probe import Averaged, LinearProbe
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.methods.spec import Head
from fedbridge.models.fm.foundation import picked
from fedbridge.models.fm.tuning import Part, tunable
from fedbridge.models.optimiser import Uncompiled
from fedbridge.models.statistics import SufficientStatistics
from fedbridge.wire import State, Step, Upload

HIDDEN, DROPOUT = 512, 0.5
TEMPERATURE = 0.2


class FedTA(PooledLarge):
    """Trained vectors beside the features, aligned by prototypes of the server (FedTA).

    Vectors and a classifier for every task are the client's own.
    """

    head: Literal["tail-anchors"] = "tail-anchors"
    tuning: Literal["none", "pool"] = "none"
    """What is trained inside the FM itself: nothing; or a pool of prompts, of which each input
    gets those that suit it. Each epoch then runs the FM forwards and backwards, and every item is
    encoded anew after every round."""
    attract: Weight = 0.1
    """Weight of how far the chosen keys lie from what they were chosen for, of tail anchors and of
    the prompts of a pool."""
    anchors: Positive = 200
    """Tail anchors of a client."""
    contrast: Weight = 1.0
    """Weight of the contrast of mixed features with everybody's prototypes."""
    threshold: Scale = 0.25
    """Mean cosine with all prototypes below which a class's own is selected for good."""


class TailAnchored:
    """Keys, anchors and a classifier for every task: a client's own, of which nothing is sent."""

    settled = True
    behind = False
    weights = None

    def __init__(self, shared: SharedContext, options: FedTA) -> None:
        self.shared, self.options = shared, options
        features, classes = shared.lift.dimension, len(shared.classes)
        generator = torch.Generator().manual_seed(seed_for(shared.config.seed, "tail anchors"))
        size = self.options.anchors, features
        parts = {
            "keys": 2.0 * torch.rand(size, generator=generator) - 1.0,
            "anchors": torch.randn(size, generator=generator),
            "enhancer": torch.zeros(features, classes),
            "prototypes": torch.zeros(2 * features, classes),
            "tasks": torch.zeros(classes, dtype=torch.int64),
        }
        self.parts: State = {name: part.to(shared.device) for name, part in parts.items()}
        self.classifiers: dict[int, State] = {}

    @property
    def known(self) -> Tensor:
        """Return the classes that a classifier was trained on."""
        return self.parts["tasks"].nonzero()[:, 0]

    def take(self, adapter: State) -> None:
        """Go on with the prototypes ``(2M, C)`` that the server selected."""
        before = self.parts["prototypes"]
        self.parts["prototypes"] = adapter.get("prototypes", before).to(before.device)

    def scores(self, features: Tensor) -> Tensor:
        """Return each class's score by the classifier of its task, ``(n, C)``."""
        mixed, _ = mix(features, self.parts["keys"], self.parts["anchors"])
        scores = features.new_zeros(len(features), len(self.shared.classes))
        for task, state in self.classifiers.items():
            own = (self.parts["tasks"] == task).nonzero()[:, 0]
            scores[:, own] = classified(mixed, state)[:, own]
        return scores / self.shared.sharpness

    def add(self, sums: SufficientStatistics) -> None:
        """Leave sums alone."""

    def trainable(self, labels: Tensor, seen: Tensor, step: Step) -> list[TrainableHead]:
        """Return the input enhancement, where there is one, and the tail anchors after it."""
        classes = labels.unique()
        trainings: list[TrainableHead] = []
        if self.options.tuned:
            trainings = [Enhancement(self, classes, step)]
        return [*trainings, Anchoring(self, classes, step)]

    def select_hyperparameters(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
        """Choose nothing."""

    def state(self) -> State:
        """Return everything, the classifiers by their tasks."""
        named = {
            f"classifiers/{task}/{name}": value
            for task, state in self.classifiers.items()
            for name, value in state.items()
        }
        return {**self.parts, **named}

    def load(self, state: State) -> None:
        """Take up what ``state`` returned."""
        device = self.shared.device
        self.parts = {name: state[name].to(device) for name in self.parts}
        self.classifiers = {}
        for name, value in state.items():
            kind, _, rest = name.partition("/")
            if kind == "classifiers":
                task, _, key = rest.partition("/")
                self.classifiers.setdefault(int(task), {})[key] = value.to(device)

    def newest(self) -> State:
        """Return the classifier that was trained last, a new one before any training."""
        if self.classifiers:
            return self.classifiers[max(self.classifiers)]
        width, classes = len(self.parts["prototypes"]), len(self.shared.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(self.shared.config.seed, "classifier"))
            layers = {"hidden": nn.Linear(width, HIDDEN), "out": nn.Linear(HIDDEN, classes)}
        return {
            f"{name}.{key}": value.detach().to(self.shared.device)
            for name, layer in layers.items()
            for key, value in layer.state_dict().items()
        }


class Enhancement(LinearProbe):
    """The FM's prompts, trained with a linear classifier of the task's classes (equation 3)."""

    def __init__(self, head: TailAnchored, classes: Tensor, step: Step) -> None:
        self.head = head
        super().__init__(head.shared, head.options, head.parts["enhancer"], classes, step)

    def trained(self, features: Callable[[], Tensor], labels: Tensor) -> State:
        """Keep the classifier at the client."""
        self.head.parts["enhancer"] = self.weights.detach() / self.head.shared.sharpness
        return {}


class Anchoring:
    """Keys, anchors and the task's classifier, as they are trained for one round (equation 6)."""

    tunes = False

    def __init__(self, head: TailAnchored, classes: Tensor, step: Step) -> None:
        self.head, self.classes, self.step = head, classes, step
        self.epochs, self.lr = head.options.probe_epochs, head.options.probe_lr
        self.keys, self.anchors = (
            nn.Parameter(head.parts[name].clone()) for name in ("keys", "anchors")
        )
        self.classifier = {k: nn.Parameter(v.clone()) for k, v in head.newest().items()}
        self.prototypes = head.parts["prototypes"]
        self.generator = torch.Generator().manual_seed(
            seed_for(head.shared.config.seed, "dropout", *step)
        )

    @property
    def learnt(self) -> list[nn.Parameter]:
        """Return everything that moves."""
        return [self.keys, self.anchors, *self.classifier.values()]

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the loss of features ``(B, M)`` of classes ``(B,)``."""
        mixed, strain = mix(features, self.keys, self.anchors)
        logits = classified(mixed, self.classifier, self.generator)[:, self.classes]
        options = self.head.options
        loss = cross_entropy(logits, torch.searchsorted(self.classes, labels))
        loss = loss + options.contrast * contrast(mixed, labels, self.prototypes)
        return loss + options.attract * strain.mean()

    def hold(self, labels: Tensor, part: Part) -> None:
        """Let everything move."""

    def trained(self, features: Callable[[], Tensor], labels: Tensor) -> State:
        """Keep all at the client; return each class's mean, 0 of too few items, ``(2M, C)``."""
        head = self.head
        head.parts["keys"], head.parts["anchors"] = self.keys.detach(), self.anchors.detach()
        head.classifiers[self.step.task] = {
            name: value.detach() for name, value in self.classifier.items()
        }
        head.parts["tasks"][self.classes] = self.step.task
        mixed, _ = mix(features(), head.parts["keys"], head.parts["anchors"])
        sums = torch.zeros_like(self.prototypes).index_add_(1, labels, mixed.T)
        counts = labels.bincount(minlength=sums.shape[1])
        enough = counts >= head.options.min_class_items
        return {"prototypes": sums / counts.clamp(min=1) * enough}


def mix(features: Tensor, keys: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(n, 2M)``: features and the anchors of the nearest keys; and 1 - cosine ``(n,)``."""
    cosines = F.normalize(features, dim=1) @ F.normalize(keys, dim=1).T
    nearest = cosines.max(1)
    return torch.cat([features, anchors[nearest.indices]], 1), 1.0 - nearest.values


def classified(
    mixed: Tensor, classifier: Mapping[str, Tensor], dropout: torch.Generator | None = None
) -> Tensor:
    """Return logits ``(n, C)`` of mixed features ``(n, 2M)``; in training, hidden units fail.

    Which ones is drawn on the CPU, so that it does not depend on the device.
    """
    hidden = F.linear(mixed, classifier["hidden.weight"], classifier["hidden.bias"]).relu()
    if dropout:
        kept = torch.rand(hidden.shape, generator=dropout) >= DROPOUT
        hidden = hidden * kept.to(hidden.device) / (1.0 - DROPOUT)
    return F.linear(hidden, classifier["out.weight"], classifier["out.bias"])


def contrast(mixed: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
    """Return equation 5, averaged over the items of which there is a prototype; 0 without any."""
    there = (prototypes.abs().sum(0) > 0).nonzero()[:, 0]
    has = torch.isin(labels, there)
    if not has.any():
        return mixed.new_zeros(())
    cosines = F.normalize(mixed[has], dim=1) @ F.normalize(prototypes[:, there], dim=0)
    return cross_entropy(cosines / TEMPERATURE, torch.searchsorted(there, labels[has]))


class Selected(Averaged):
    """Prototypes ``(2M, C)`` of the classes and, where the FM has a pool of prompts, these."""

    def __init__(self, shared: SharedContext, clients: tuple[str, ...], options: FedTA) -> None:
        super().__init__(shared, clients, options)
        self.threshold = options.threshold
        size = 2 * shared.lift.dimension, len(shared.classes)
        self.parts = {
            key: {"prototypes": torch.zeros(size), "settled": torch.zeros(size[1])}
            for key in self.parts
        }
        self._sent: dict[str, list[tuple[Step, State]]] = {}

    @cached_property
    def trained(self) -> State:
        """Return the prototypes and the prompts, as they were at first."""
        parts = {k: v for k, v in super().trained.items() if k != "head"}
        size = 2 * self.shared.lift.dimension, len(self.shared.classes)
        return parts | {"prototypes": torch.zeros(size)}

    def adapter(self, client: str) -> State:
        """Return the prototypes and the prompts."""
        part = self.parts[self._key(client)]
        return {name: value for name, value in part.items() if name != "settled"}

    def absorb(self, upload: Upload) -> None:
        """Keep what a client sent until the round ends."""
        if upload.adapter and upload.num_examples:
            sent = Step(upload.task, upload.round), upload.adapter
            self._sent.setdefault(self._key(upload.client), []).append(sent)

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Select the prototypes, and fuse the prompts."""
        for key, sent in self._sent.items():
            part, (step, _) = self.parts[key], sent[0]
            local = torch.stack([adapter["prototypes"] for _, adapter in sent])
            part["prototypes"], part["settled"] = selected(
                part["prototypes"], part["settled"], local, self.threshold
            )
            prompts = [{k: v for k, v in a.items() if k != "prototypes"} for _, a in sent]
            if prompts[0]:
                part |= fused(self.shared, self.options, prompts, step)
        self._sent = {}
        return []


def selected(
    before: Tensor, settled: Tensor, local: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Return prototypes ``(N, C)`` and which are for good, from those of K clients, ``(K, N, C)``.

    All zero stands for none.
    """
    candidates: list[tuple[int, Tensor]] = []
    for c in range(before.shape[1]):
        rows = [before[:, c]] if settled[c] else [*local[:, :, c], before[:, c]]
        candidates += [(c, row) for row in rows if row.any()]
    if not candidates:
        return before, settled
    classes = torch.tensor([c for c, _ in candidates])
    units = F.normalize(torch.stack([row for _, row in candidates]).double(), dim=1)
    alike = (units @ units.T).masked_fill(classes[:, None] == classes[None, :], 1.0).mean(1)
    after, done = before.clone(), settled.clone()
    for c in classes.unique().tolist():
        own = (classes == c).nonzero()[:, 0]
        best = own[alike[own].argmin()]
        after[:, c] = candidates[int(best)][1]
        done[c] = max(float(settled[c]), float(alike[best] < threshold))
    return after, done


def fused(shared: SharedContext, options: TrainedLarge, prompts: list[State], step: Step) -> State:
    """Return prompts and keys that give the features on U that those of all clients give."""
    config, items = shared.config, shared.public_items
    if len(prompts) == 1:
        return prompts[0]
    assert items is not None
    generator = torch.Generator().manual_seed(seed_for(config.seed, "fuse prompts", *step))
    chosen = int(torch.randint(len(prompts), (), generator=generator))
    fm = tunable(options, shared.device, config.seed)
    total: Tensor | float = 0.0
    for state in prompts[:chosen] + prompts[chosen + 1 :]:
        fm.load(state)
        total = total + fm.encode(items, options.batch)
    assert isinstance(total, Tensor)
    aim = total / (len(prompts) - 1)
    fm.load(prompts[chosen])
    optimiser = Uncompiled(list(fm.part.values()), lr=options.tuning_lr, weight_decay=0.0)
    for _ in range(options.probe_epochs):
        for rows in torch.randperm(len(aim), generator=generator).split(config.training.batch):
            loss = F.mse_loss(fm(picked(items, rows.numpy())), aim[rows.to(aim.device)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    state = fm.state()
    return prompts[chosen] if infinity(state) else state


HEAD = Head(
    options=FedTA,
    client=TailAnchored,
    server=Selected,
    sent=("prototypes",),
    linear=False,
    lr=lambda options: {"probe_lr": options.probe_lr},
)
