"""What every learner, fusion and head must keep to; to be called in anybody's own tests.

    from fedbridge.runs.contracts import check_learner

    def test_my_learner():
        check_learner("my_module:LEARNER")

Each check plays tiny federations of pictures with a block of light, whose place is the class.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedbridge.client.client import FederatedClient
from fedbridge.client.private import Private
from fedbridge.core.errors import UserError
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.scenario import build_scenario
from fedbridge.federation.loop import steps
from fedbridge.methods.context import SharedContext
from fedbridge.methods.files import parse_config
from fedbridge.methods.registry import KEYS, declared, head_of, method_of, sharpness_of
from fedbridge.methods.sums import SUMS
from fedbridge.models.small.space import anchors, stored
from fedbridge.models.statistics import FeatureMap
from fedbridge.server.server import Server
from fedbridge.wire import Broadcast, State, Step, Upload, decode, encode

J = TypeVar("J")
R = TypeVar("R")
M = TypeVar("M", Broadcast, Upload)

CLASSES, PER_CLASS, SIDE = 8, 40, 16
SOLVED = 0.9
"""Accuracy that a method must reach on blocks of light."""
TREE: dict[str, Any] = {
    "scenario": {
        "clients": 2,
        "tasks": 2,
        "classes_per_task": 2,
        "order": "same",
        "public_per_class": 8,
    },
    "large": {"head": "analytic"},
    "small": {"models": ["mlp"], "dimension": 32, "warm_epochs": 0},
    "training": {"rounds": 2, "epochs": 2, "batch": 16, "lr": 0.005},
    "learner": {"name": "replay"},
    "fusion": {"name": "none"},
    "engine": {"workers": 0, "device": "cpu"},
}


def check_learner(name: str, **options: Any) -> None:
    """Raise AssertionError if a learner does not keep to what all learners do.

    ``name`` is as in a config: an entry of ``LEARNERS`` or ``MODULE:NAME``, with the ``options``
    that it shall have. It must describe its options, learn one task, give the same result twice
    whatever the global generators are, go on alike from what was saved, and send what is finite.
    """
    _check_options("learner", name)
    tree = TREE | {"learner": {"name": name, **options}}
    _check_solved(tree, f"learner {name}", tasks=1)
    _check_play(tree, f"learner {name}")


def check_fusion(name: str, **options: Any) -> None:
    """Raise AssertionError if a fusion does not keep to what all fusions do.

    As ``check_learner``; clients that remember must know all tasks in the end, uploads hold what
    the fusion declares and nothing else, and every client gets a whole model of its own kind.
    """
    _check_options("fusion", name)
    tree = TREE | {"fusion": {"name": name, **options}}
    _check_solved(tree, f"fusion {name}", tasks=2)
    _check_play(tree, f"fusion {name}")


def check_head(name: str, **options: Any) -> None:
    """Raise AssertionError if a head of the large side does not keep to what all heads do.

    As ``check_learner``; uploads hold the sums that the head declares, or what the server's side
    says is trained, and nothing else.
    """
    _check_options("large", name)
    tree = TREE | {"large": {"head": name, **options}}
    _check_solved(tree, f"head {name}", tasks=1, predictor="large")
    _check_play(tree, f"head {name}")


def _check_options(part: str, name: str) -> None:
    options = method_of(part, name).options
    assert options.__doc__, f"{name}: its options must say in a docstring what it is"
    for key, setting in options.model_fields.items():
        told = (
            setting.description or key == KEYS[part] or hasattr(setting.annotation, "model_fields")
        )
        assert told, f"{name}: the option {key!r} must say below itself what it is"
    key = "no_such_option"
    try:
        parse_config({part: {KEYS[part]: name, key: 1}}, "check")
    except UserError as error:
        assert key in str(error), f"{name}: an unknown option must be named, found {error}"
    else:
        raise AssertionError(f"{name}: an unknown option must be refused")


def _check_solved(tree: dict[str, Any], what: str, tasks: int, predictor: str = "small") -> None:
    played = Federation(tree)
    played.play([step for step in steps(played.shared.config) if step.task <= tasks])
    for score in played.accuracies(tasks, predictor):
        assert score >= SOLVED, f"{what}: must solve blocks of light, found {score:.2f} right"


def _check_play(tree: dict[str, Any], what: str) -> None:
    torch.manual_seed(1)
    first = Federation(tree)
    first.play(steps(first.shared.config))
    assert not first.server.refused, f"{what}: {first.server.refused}"
    for upload in first.uploads:
        _check_upload(upload, declared(first.shared), what)
    _check_large(first, what)
    torch.manual_seed(2)
    again = Federation(tree)
    *before, last = steps(again.shared.config)
    again.play(before)
    with TemporaryDirectory() as folder:
        again.save(Path(folder))
        resumed = Federation(tree)
        resumed.load(Path(folder))
    resumed.play([last])
    sent = [encode(upload) for upload in first.uploads]
    found = [encode(upload) for upload in again.uploads]
    assert found == sent[: len(found)], f"{what}: must give the same result twice"
    found = [encode(upload) for upload in resumed.uploads]
    assert found == sent[-len(found) :], f"{what}: must go on from what was saved as if not stopped"


def _check_upload(upload: Upload, wanted: State, what: str) -> None:
    extra = upload.extra.keys()
    assert extra == wanted.keys(), f"{what}: must upload {set(wanted)}, found {set(extra)}"
    for state in (upload.state, upload.extra, upload.adapter, sums_of(upload)):
        for key, array in state.items():
            assert array.isfinite().all(), f"{what}: uploads must be finite, found {key!r}"


def _check_large(played: "Federation", what: str) -> None:
    """Check that of the large side all travels that was declared, sums once a task."""
    wanted = set(head_of(played.shared.config).sums), set(played.server.large.trained)
    for upload in played.uploads:
        sums = wanted[0] if upload.round == 1 else set()
        found = set(sums_of(upload)), set(upload.adapter)
        assert found == (sums, wanted[1]), f"{what}: must upload {sums, wanted[1]}, found {found}"


def sums_of(upload: Upload) -> State:
    """Return the sums of features that an upload holds."""
    named = {name: getattr(upload, name) for name in SUMS}
    return {name: array for name, array in named.items() if len(array)}


class Federation:
    """Two clients and a server, which speak through the wire."""

    def __init__(self, tree: dict[str, Any]) -> None:
        config, dataset = parse_config(tree, "check"), blocks()
        streams = build_scenario(dataset, config.scenario, config.seed)
        public = brightness(dataset.inputs[streams.public])
        lift = FeatureMap.fit(public, config.large.projection, config.seed)
        self.shared = SharedContext(
            config=config,
            classes=dataset.classes,
            input_shape=tuple(dataset.inputs.shape[1:]),
            anchors=anchors(dataset.classes, config.small.dimension, config.seed),
            public_inputs=stored(dataset.inputs[streams.public]),
            public_features=lift(public),
            lift=lift,
            device=torch.device("cpu"),
            sharpness=sharpness_of(config),
        )
        self.clients = {
            stream.name: FederatedClient(
                Private(
                    stream,
                    lambda rows: stored(dataset.inputs[rows]),
                    lambda rows: lift(brightness(dataset.inputs[rows])),
                    dataset.labels,
                ),
                self.shared,
                config.small.models[0],
            )
            for stream in streams.clients
        }
        models = dict.fromkeys(self.clients, config.small.models[0])
        self.server = Server(self.shared, models, self.map_jobs)
        self.uploads: list[Upload] = []

    def map_jobs(self, function: Callable[[SharedContext, J], R], jobs: list[J]) -> list[R]:
        """Run a pure function on every job, one after the other."""
        return [function(self.shared, job) for job in jobs]

    def play(self, todo: list[Step]) -> None:
        """Let all clients learn and the server fuse, step by step."""
        for step in todo:
            for name, broadcast in self.server.broadcast(step).items():
                upload = self.clients[name].learn(arrived(broadcast))
                self.uploads.append(arrived(upload))
                self.server.absorb(self.uploads[-1])
            self.server.finish_round(step)

    def accuracies(self, tasks: int, predictor: str) -> Iterator[float]:
        """Yield each client's accuracy on each of the first tasks, which it has learnt."""
        for name, sent in self.server.broadcast(Step(tasks + 1, 1)).items():
            for row in self.clients[name].evaluate(arrived(sent)).rows:
                if row[0] <= tasks and row[1:3] == (predictor, "class-incremental"):
                    yield row[3] / row[4]

    def save(self, folder: Path) -> None:
        """Write all that goes on into a folder."""
        self.server.save(folder)
        for client in self.clients.values():
            client.save(folder)

    def load(self, folder: Path) -> None:
        """Take up what ``save`` wrote."""
        self.server.load(folder)
        for client in self.clients.values():
            client.load(folder)


def arrived(message: M) -> M:
    """Return a message as it arrives at the other side."""
    return decode(encode(message), type(message).__name__)  # type: ignore[arg-type, return-value]


def blocks() -> Dataset:
    """Return pictures ``(320, 1, 16, 16)``: noise, and light in the cell that is the class."""
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(CLASSES, dtype=np.int64), PER_CLASS)
    pictures = rng.integers(0, 40, (len(labels), 1, SIDE, SIDE)).astype(np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        row, column = 4 * (label // 4), 4 * (label % 4)
        picture[0, row : row + 4, column : column + 4] += np.uint8(rng.integers(120, 200))
    return Dataset(
        name="blocks",
        modality="image",
        items=pictures,
        inputs=pictures,
        labels=labels,
        domains=np.zeros(len(labels), np.int64),
        groups=np.arange(len(labels), dtype=np.int64),
        classes=tuple(f"block-{c}" for c in range(CLASSES)),
        domain_names=("blocks",),
        fingerprint="b10c",
        licences=(),
    )


def brightness(pictures: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Stand for the FM: the mean of each 4 x 4 cell, ``(n, 16)``."""
    cells = pictures.reshape(len(pictures), 4, 4, 4, 4).mean((2, 4)) / 255.0
    found: NDArray[np.float32] = cells.reshape(len(pictures), 16).astype(np.float32)
    return found
