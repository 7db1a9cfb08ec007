"""Tiny federations for tests: pictures with one block of light, whose place is the class."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedbridge.client.client import FederatedClient
from fedbridge.client.private import Private
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.scenario import Streams, build_scenario
from fedbridge.federation.loop import federate, steps
from fedbridge.methods.config import Config
from fedbridge.methods.context import SharedContext
from fedbridge.methods.files import parse_config
from fedbridge.methods.registry import sharpness_of
from fedbridge.models.small.space import SmallModel, anchors, stored
from fedbridge.models.statistics import FeatureMap
from fedbridge.server.server import Server
from fedbridge.wire import Broadcast, Evaluation, Step, Upload, decode, encode

Tree = dict[str, Any]
M = TypeVar("M", Broadcast, Upload, Evaluation)

CLASSES, PER_CLASS, SIDE = 8, 40, 16
SMCF: Tree = {
    "name": "smcf",
    "previous": 1.0,
    "large": 1.0,
    "guide": "large",
    "teach_unseen": False,
    "on": "public",
    "sharpness": 8.0,
    "public_batch": 16,
    "memory": 5,
    "memory_batch": 8,
    "rehearsal": 1.0,
    "relation": 0.0,
}
OBOD: Tree = {
    "name": "obod",
    "teachers": 4,
    "rounds": "every",
    "others": True,
    "snapshots": 2,
    "accept": False,
    "anchor": 1.0,
    "epochs": 1,
    "batch": 16,
    "lr": 0.0005,
    "ablation": {
        "order": "best-last",
        "form": "one-by-one",
        "compare": "classes",
        "classes": "shared",
        "confidence": True,
        "mass": True,
        "only_if_more_confident": True,
        "statistics": True,
    },
}
TREE: Tree = {
    "seed": 0,
    "scenario": {
        "clients": 2,
        "tasks": 2,
        "classes_per_task": 2,
        "alpha": 5.0,
        "test": 0.2,
        "public": 0.2,
        "public_per_class": 8,
        "validation": 0.2,
    },
    "large": {
        "head": "analytic",
        "scope": "federation",
        "projection": 0,
        "regularisation": [0.01, 0.1, 1.0],
        "personal_weights": [0.0, 1.0, 10.0],
        "student_weight": 0.0,
    },
    "small": {"models": ["mlp"], "dimension": 32, "temperature": 16.0, "warm_epochs": 0},
    "training": {"rounds": 2, "epochs": 2, "batch": 16, "lr": 0.005, "weight_decay": 0.001},
    "learner": SMCF,
    "fusion": OBOD,
    "engine": {"workers": 0, "device": "cpu"},
}


def tiny_config(**changes: Any) -> Config:
    """Return small settings, all of them explicit; another method replaces ours."""
    tree = dict(TREE)
    for key, value in changes.items():
        base = tree.get(key)
        if key == "large" and value.get("head", "analytic") != "analytic":
            base = {"scope": "federation", "projection": 0}
        merges = isinstance(base, dict) and value.get("name", base.get("name")) == base.get("name")
        tree[key] = {**base, **value} if merges else value
    return parse_config(tree, "test")


@cache
def blocks() -> Dataset:
    """Return pictures ``(320, 1, 16, 16)``: noise, and light in the cell that is the class."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(CLASSES, dtype=np.int64), PER_CLASS)
    pictures = rng.integers(0, 40, (len(labels), 1, SIDE, SIDE)).astype(np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        row, column = 4 * (label // 4), 4 * (label % 4)
        picture[0, row : row + 4, column : column + 4] += np.uint8(rng.integers(120, 200))
    return of_pictures(pictures, labels)


def of_pictures(pictures: NDArray[np.uint8], labels: NDArray[np.int64]) -> Dataset:
    """Return a data set of one domain in which every item is its own group."""
    zeros, groups = np.zeros(len(labels), np.int64), np.arange(len(labels), dtype=np.int64)
    classes = tuple(f"block-{c}" for c in range(CLASSES))
    return Dataset(
        name="blocks",
        modality="image",
        items=pictures,
        inputs=pictures,
        labels=labels,
        domains=zeros,
        groups=groups,
        classes=classes,
        domain_names=("blocks",),
        fingerprint="b10c",
        licences=(),
    )


def brightness(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Stand for the FM: the mean of each 4 x 4 cell, ``(n, 16)``."""
    cells = pictures.reshape(len(pictures), 4, 4, 4, 4).mean((2, 4)) / 255.0
    return cells.reshape(len(pictures), 16).astype(np.float32)


@dataclass(frozen=True)
class World:
    """All that a federation is built from."""

    dataset: Dataset
    streams: Streams
    shared: SharedContext

    @property
    def models(self) -> dict[str, str]:
        known = self.shared.config.small.models
        names = [stream.name for stream in self.streams.clients]
        return {name: known[k % len(known)] for k, name in enumerate(names)}

    def private(self, k: int = 0) -> Private:
        def features_of(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return self.shared.lift(brightness(self.dataset.inputs[rows]))

        def inputs_of(rows: NDArray[np.int64]) -> Tensor:
            return stored(self.dataset.inputs[rows])

        return Private(self.streams.clients[k], inputs_of, features_of, self.dataset.labels)

    def client(self, k: int = 0, private: Private | None = None) -> FederatedClient:
        private = private or self.private(k)
        return FederatedClient(private, self.shared, self.models[private.stream.name])

    def clients(self) -> dict[str, FederatedClient]:
        return {name: self.client(k) for k, name in enumerate(self.models)}

    def server(self) -> Server:
        return Server(self.shared, self.models, self.map_jobs, self.present)

    def present(self, client: str, step: Step) -> bool:
        """Say whether a client takes part in a step; all are there before and after the run."""
        (stream,) = (s for s in self.streams.clients if s.name == client)
        slots, rounds = self.shared.config.scenario.slots, self.shared.config.training.rounds
        return not 1 <= step.task <= slots or stream.takes_part(*step, rounds)

    def map_jobs(self, function: Callable[[SharedContext, Any], Any], jobs: list[Any]) -> list[Any]:
        return [function(self.shared, job) for job in jobs]

    def items(self, part: str, k: int = 0) -> NDArray[np.int64]:
        """Return all items of a client's ``train``, ``validation`` or ``test``."""
        return np.concatenate([getattr(t, part) for t in self.streams.clients[k].tasks])

    def with_config(self, **changes: Any) -> "World":
        """Return the same data under other settings of training, learner, fusion or large."""
        config = tiny_config(**changes)
        shared = replace(self.shared, config=config, sharpness=sharpness_of(config))
        return replace(self, shared=shared)


def make_world(config: Config | None = None, dataset: Dataset | None = None) -> World:
    """Build a federation on the blocks, or on pictures of the same kind."""
    config, dataset = config or tiny_config(), dataset or blocks()
    streams = build_scenario(dataset, config.scenario, config.seed)
    public = brightness(dataset.inputs[streams.public])
    lift = FeatureMap.fit(public, config.large.projection, config.seed)
    shared = SharedContext(
        config=config,
        sharpness=sharpness_of(config),
        classes=dataset.classes,
        input_shape=tuple(dataset.inputs.shape[1:]),
        anchors=anchors(dataset.classes, config.small.dimension, config.seed),
        public_inputs=stored(dataset.inputs[streams.public]),
        public_features=lift(public),
        lift=lift,
        device=torch.device("cpu"),
    )
    return World(dataset, streams, shared)


@dataclass
class Direct:
    """A transport that calls the clients, through the wire."""

    clients: dict[str, FederatedClient]
    uploads: list[Upload] = field(default_factory=list)

    def exchange(self, broadcasts: dict[str, Broadcast]) -> Iterator[Upload]:
        for name, broadcast in broadcasts.items():
            upload = self.clients[name].learn(sent(broadcast))
            self.uploads.append(sent(upload))
            yield self.uploads[-1]


def sent(message: M) -> M:
    """Return a message as it arrives at the other side."""
    return decode(encode(message), type(message).__name__)


@dataclass
class Played:
    """A federation after some steps."""

    world: World
    server: Server
    transport: Direct

    @property
    def clients(self) -> dict[str, FederatedClient]:
        return self.transport.clients

    def broadcasts(self, task: int, round_: int = 1) -> dict[str, Broadcast]:
        return {n: sent(b) for n, b in self.server.broadcast(Step(task, round_)).items()}


def play(world: World, todo: Iterable[Step] | None = None) -> Played:
    """Run a federation from its start through the steps ``todo``, all of them by default."""
    played = Played(world, world.server(), Direct(world.clients()))
    todo = steps(world.shared.config) if todo is None else todo
    for _ in federate(played.server, played.transport, todo):
        pass
    return played


def accuracy(evaluation: Evaluation, predictor: str, protocol: str, tasks: Iterable[int]) -> float:
    """Return the mean accuracy of a predictor over some tasks."""
    rows = {row[0]: row for row in evaluation.rows if row[1:3] == (predictor, protocol)}
    return float(np.mean([rows[task][3] / rows[task][4] for task in tasks]))


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Say whether two states are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


class Pixels(nn.Module):
    """The smallest backbone: the first pixels as they are."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : self.features]


def linear_model(weights: list[list[float]]) -> SmallModel:
    """Return ``normalize(W x)`` on the first pixels, ``weights (P, F)``, without a bias."""
    model = SmallModel(Pixels(len(weights[0])), len(weights))
    with torch.no_grad():
        model.projector.weight.copy_(torch.tensor(weights))
        model.projector.bias.zero_()
    return model


def bare_context(config: Config, classes: int, public: Tensor, features: Tensor) -> SharedContext:
    """Return one in which anchor c is the c-th axis: logits are ``tau`` times an embedding."""
    table = features.numpy().astype(np.float32)
    ones = np.ones(table.shape[1], np.float32)
    return SharedContext(
        config=config,
        sharpness=sharpness_of(config),
        classes=tuple(f"class-{c}" for c in range(classes)),
        input_shape=tuple(public.shape[1:]),
        anchors=torch.eye(classes),
        public_inputs=public,
        public_features=table,
        lift=FeatureMap(0 * ones, ones, None),
        device=torch.device("cpu"),
    )
