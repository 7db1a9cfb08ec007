"""The clients' part of FedTA (Yu et al., CVPR 2025): tail anchors beside a frozen FM's features.

Features z of an item get the anchor t_s beside them whose key k_s has the largest cosine with z
(equation 4): f = [z; t_s]. A classifier reads f. Its loss, for items of class y (equation 6), is

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
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedbridge.client.study import Probe, Study
from fedbridge.losses import cross_entropy
from fedbridge.methods.context import SharedContext
from fedbridge.models.head import Sums
from fedbridge.models.tuning import Part
from fedbridge.rng import seed_for
from fedbridge.wire import State, Step

HIDDEN, DROPOUT = 512, 0.5
TEMPERATURE = 0.2


class TailAnchored:
    """Keys, anchors and a classifier for every task: a client's own, of which nothing is sent."""

    settled = True
    behind = False

    def __init__(self, commons: SharedContext) -> None:
        self.commons = commons
        self.settings = commons.config.large
        features, classes = commons.lift.dimension, len(commons.classes)
        generator = torch.Generator().manual_seed(seed_for(commons.config.seed, "tail anchors"))
        size = self.settings.anchors, features
        parts = {
            "keys": 2.0 * torch.rand(size, generator=generator) - 1.0,
            "anchors": torch.randn(size, generator=generator),
            "enhancer": torch.zeros(features, classes),
            "prototypes": torch.zeros(2 * features, classes),
            "tasks": torch.zeros(classes, dtype=torch.int64),
        }
        self.parts: State = {name: part.to(commons.device) for name, part in parts.items()}
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
        scores = features.new_zeros(len(features), len(self.commons.classes))
        for task, state in self.classifiers.items():
            own = (self.parts["tasks"] == task).nonzero()[:, 0]
            scores[:, own] = classified(mixed, state)[:, own]
        return scores / self.commons.sharpness

    def add(self, sums: Sums) -> None:
        """Leave sums alone."""

    def studies(self, labels: Tensor, seen: Tensor, step: Step) -> list[Study]:
        """Return the input enhancement, where there is one, and the tail anchors after it."""
        classes = labels.unique()
        studies: list[Study] = []
        if self.settings.tuning != "none":
            studies = [Enhancement(self, classes, step)]
        return [*studies, Anchoring(self, classes, step)]

    def settle(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
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
        device = self.commons.device
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
        width, classes = len(self.parts["prototypes"]), len(self.commons.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(self.commons.config.seed, "classifier"))
            layers = {"hidden": nn.Linear(width, HIDDEN), "out": nn.Linear(HIDDEN, classes)}
        return {
            f"{name}.{key}": value.detach().to(self.commons.device)
            for name, layer in layers.items()
            for key, value in layer.state_dict().items()
        }


class Enhancement(Probe):
    """The FM's prompts, trained with a linear classifier of the task's classes (equation 3)."""

    def __init__(self, head: TailAnchored, classes: Tensor, step: Step) -> None:
        self.head = head
        super().__init__(head.commons, head.parts["enhancer"], classes, step)

    def trained(self, features: Callable[[], Tensor], labels: Tensor) -> State:
        """Keep the classifier at the client."""
        self.head.parts["enhancer"] = self.weights.detach() / self.head.commons.sharpness
        return {}


class Anchoring:
    """Keys, anchors and the task's classifier, as they are trained for one round (equation 6)."""

    tunes = False

    def __init__(self, head: TailAnchored, classes: Tensor, step: Step) -> None:
        self.head, self.classes, self.step = head, classes, step
        self.keys, self.anchors = (
            nn.Parameter(head.parts[name].clone()) for name in ("keys", "anchors")
        )
        self.classifier = {k: nn.Parameter(v.clone()) for k, v in head.newest().items()}
        self.prototypes = head.parts["prototypes"]
        self.generator = torch.Generator().manual_seed(
            seed_for(head.commons.config.seed, "dropout", *step)
        )

    @property
    def learnt(self) -> list[nn.Parameter]:
        """Return everything that moves."""
        return [self.keys, self.anchors, *self.classifier.values()]

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the loss of features ``(B, M)`` of classes ``(B,)``."""
        mixed, strain = mix(features, self.keys, self.anchors)
        logits = classified(mixed, self.classifier, self.generator)[:, self.classes]
        settings = self.head.settings
        loss = cross_entropy(logits, torch.searchsorted(self.classes, labels))
        loss = loss + settings.contrast * contrast(mixed, labels, self.prototypes)
        return loss + settings.attract * strain.mean()

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
        enough = counts >= head.settings.least
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
