"""How fast this machine is at the steps that a run is made of, tried on a few batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from fedbridge.client.large import LargePart
from fedbridge.client.private import Private
from fedbridge.config.models import TrainedLarge
from fedbridge.data.dataset import Dataset
from fedbridge.data.public import items_at
from fedbridge.data.scenario import ClientStream
from fedbridge.methods.context import ItemBatch, SharedContext, TrainContext
from fedbridge.methods.registry import FUSIONS, LEARNERS, head_of
from fedbridge.methods.rounds import PublicPredictions, RoundUploads, Student
from fedbridge.methods.target import TARGET
from fedbridge.models.head import Sums, one_hot
from fedbridge.models.space import SmallModel, embed, stored
from fedbridge.wire import State, Step

J = TypeVar("J")
R = TypeVar("R")
BATCHES = 4
FEW = 8  # items that are looked at one by one, or by the FM
ITEMS = 512  # as many as are embedded at once


@dataclass(frozen=True)
class Pace:
    """Parameters of one architecture, and the seconds it takes here."""

    parameters: int
    learn: float
    """Per training step."""
    read: float
    """Per item embedded."""
    fuse: float
    """Per public item of one course over U, such as a teacher's lesson."""
    close: float
    """Per item that the learner looks at when it closes a task."""


@dataclass(frozen=True)
class HeadPace:
    """Seconds that the head of the large side takes here."""

    solve: float
    """Per candidate head."""
    sum_up: float
    """Per item that goes into the sums."""


@dataclass(frozen=True)
class LargePace:
    """Seconds that a client's part of the large side takes here; 0 for what it has not."""

    train: float
    """Per item and epoch of the probe's training, and of the FM's where it is tuned."""
    read: float
    """Per item encoded by a tuned FM."""


def pace_of(commons: SharedContext, dataset: Dataset, stream: ClientStream, model: str) -> Pace:
    """Try one architecture on a few items of a client."""
    small = commons.small_model(model, stream.name)
    rows = np.resize(stream.tasks[0].train, ITEMS)
    inputs = stored(dataset.inputs[rows]).to(commons.device)
    embed(small, inputs)  # the first pass of a model is slow
    return Pace(
        parameters=sum(p.numel() for p in small.parameters()),
        learn=_learning(commons, dataset, stream, model),
        read=seconds_of(lambda: embed(small, inputs)) / ITEMS,
        fuse=_fusing(commons, stream, model),
        close=_closing(commons, dataset, stream, model),
    )


def pace_of_head(commons: SharedContext) -> HeadPace:
    """Try the sums of random features, and one solution."""
    size, classes = commons.lift.dimension, len(commons.classes)
    z = np.random.default_rng(0).standard_normal((ITEMS, size)).astype(np.float32)
    targets = one_hot(np.arange(ITEMS) % classes, classes)
    sums = Sums.of(z, targets)
    return HeadPace(
        solve=seconds_of(lambda: sums.ridge(0.1)),
        sum_up=seconds_of(lambda: Sums.of(z, targets)) / ITEMS,
    )


def pace_of_large(commons: SharedContext, dataset: Dataset, stream: ClientStream) -> LargePace:
    """Try the probe on random features, or the FM itself where it is tuned, on a few items."""
    large = commons.config.large
    if not isinstance(large, TrainedLarge):
        return LargePace(0.0, 0.0)
    tuned = large.tuned is not None
    count = FEW if tuned else BATCHES * commons.config.training.batch
    rows = np.resize(stream.tasks[0].train, count)
    noise = np.random.default_rng(0).standard_normal((len(rows), commons.lift.dimension))
    private = Private(
        stream,
        lambda rows: stored(dataset.inputs[rows]),
        lambda rows: noise.astype(np.float32),
        dataset.labels,
        lambda rows: items_at(dataset, rows),
    )
    part = LargePart(private, commons)
    seen = torch.tensor(stream.seen(1), device=commons.device)
    head, labels = (
        head_of(commons.config).client(commons, large),
        torch.from_numpy(dataset.labels[rows]),
    )

    def train() -> None:
        studies = head.trainable(labels.to(commons.device), seen, Step(1, 1))
        part.train(rows, studies, Step(1, 1))

    train()  # the first one is slow
    trained = large.probe_epochs * len(rows)
    read = seconds_of(lambda: part.features_of(rows), 1) / len(rows) if tuned else 0.0
    return LargePace(seconds_of(train, 1 if tuned else 3) / trained, read)


def seconds_to_synthesise(commons: SharedContext, stream: ClientStream, models: list[str]) -> float:
    """Return the seconds per picture in which TARGET synthesises one batch of them."""
    fusion, config = commons.config.fusion, commons.config
    assert isinstance(fusion, TARGET)
    classes = tuple(stream.seen(len(stream.tasks)))
    nothing = PublicPredictions("", classes, torch.zeros(0, config.small.dimension))
    students = [
        Student(model, model, commons.small_model(model, model).cpu().state_dict(), nothing, ())
        for model in models
    ]
    gathered = RoundUploads(Step(1, config.training.rounds), students)
    one = fusion.model_copy(update={"items": fusion.synthesis})
    seconds = seconds_of(
        lambda: FUSIONS["target"].fuse(gathered, commons, one, lambda do, jobs: []), 1
    )
    return seconds / fusion.synthesis


def seconds_of(function: Callable[[], object], tries: int = 3) -> float:
    """Return the seconds that the fastest of a few calls takes: what else runs only slows."""
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _learning(commons: SharedContext, dataset: Dataset, stream: ClientStream, model: str) -> float:
    """Return the seconds of one training step, with every term of the learner's loss at work."""
    once = commons.config.training.model_copy(update={"epochs": 1})
    config = commons.config.model_copy(update={"training": once})
    commons = replace(commons, config=config)
    small = commons.small_model(model, stream.name).train()
    learner, options = LEARNERS[config.learner.name], config.learner
    first = _few(_lesson(commons, dataset, stream, small, 1))
    learner.end_task(first, options)  # leaves notes as a first task does

    def study(batches: int) -> None:
        lesson = _lesson(commons, dataset, stream, small, batches)
        learner.learn(replace(lesson, notes=first.notes), options)

    study(1)
    return seconds_of(lambda: study(BATCHES)) / BATCHES


def _closing(commons: SharedContext, dataset: Dataset, stream: ClientStream, model: str) -> float:
    """Return the seconds that closing a task takes per item that the learner looks at."""
    learner, options = LEARNERS[commons.config.learner.name], commons.config.learner
    small = commons.small_model(model, stream.name)
    lesson = _few(_lesson(commons, dataset, stream, small, 1))
    learner.end_task(lesson, options)
    return seconds_of(lambda: learner.end_task(lesson, options)) / len(lesson.task)


def _few(lesson: TrainContext) -> TrainContext:
    """Return a lesson of a few of its items."""
    return replace(lesson, task=lesson.task[torch.arange(min(FEW, len(lesson.task)))])


def _lesson(
    commons: SharedContext, dataset: Dataset, stream: ClientStream, model: SmallModel, batches: int
) -> TrainContext:
    """Return a lesson of the client's last task with random answers of both teachers."""
    config, last = commons.config, sorted(stream.tasks[-1].met)
    generator = torch.Generator().manual_seed(0)
    seen = stream.seen(len(stream.tasks))
    remembers = getattr(config.learner, "memory", 0) and len(stream.tasks) > 1

    def share(count: int) -> ItemBatch:
        rows = np.resize(np.concatenate([task.train for task in stream.tasks]), count)
        parts = (
            stored(dataset.inputs[rows]),
            torch.from_numpy(dataset.labels[rows]),
            torch.full((count, config.small.dimension), config.small.dimension**-0.5),
            torch.rand(count, len(commons.classes), generator=generator),
            torch.from_numpy(rows),
        )
        return ItemBatch(*(part.to(commons.device) for part in parts))

    def ids(classes: list[int]) -> torch.Tensor:
        return torch.tensor(classes, dtype=torch.int64, device=commons.device)

    state = {k: v.clone() for k, v in model.state_dict().items()}
    return TrainContext(
        model=model,
        shared=commons,
        task=share(batches * config.training.batch),
        memory=share(config.training.batch if remembers else 0),
        public=share(config.training.batch),
        seen=ids(seen),
        new=ids(last),
        old=ids([c for c in seen if c not in last]),
        taught=ids(seen),
        generator=generator,
        start=state,
        former=state,
        received=_shared(commons, torch.tensor(seen)),
    )


def _shared(commons: SharedContext, seen: torch.Tensor) -> State:
    """Return what stands for what the fusion sends to everybody, a batch of it."""
    fusion, device = commons.config.fusion, commons.device
    if not isinstance(fusion, TARGET):
        return {}
    labels = seen.repeat(fusion.synthesis)[: fusion.synthesis]
    pictures = torch.zeros(len(labels), *commons.input_shape, dtype=torch.uint8)
    return {"synthetic": pictures.to(device), "synthetic_labels": labels.to(device)}


def _fusing(commons: SharedContext, stream: ClientStream, model: str) -> float:
    """Return the seconds that one course over U takes per item of it, 0 if there are none."""
    if isinstance(commons.config.fusion, TARGET):  # whose pictures are tried by themselves
        return 0.0
    few = min(ITEMS, len(commons.public_inputs))
    commons = replace(
        commons,
        public_inputs=commons.public_inputs[:few],
        public_features=commons.public_features[:few],
    )
    classes = tuple(stream.seen(len(stream.tasks)))
    state = {k: v.cpu() for k, v in commons.small_model(model, stream.name).state_dict().items()}
    generator = torch.Generator().manual_seed(0)

    def known(name: str) -> PublicPredictions:
        noise = torch.randn(few, commons.config.small.dimension, generator=generator)
        return PublicPredictions(
            name, classes, torch.nn.functional.normalize(noise).to(commons.device)
        )

    students = [Student(n, model, state, known(n), (known(f"{n}@task-1"),)) for n in ("a", "b")]
    fusion = commons.config.fusion

    def fuse() -> int:
        step = Step(1, commons.config.training.rounds)  # there may be fusion in the last one only
        given: list[object] = []

        def spread(do: Callable[[SharedContext, J], R], jobs: list[J]) -> list[R]:
            given.extend(jobs)
            return [do(commons, job) for job in jobs]

        fused = FUSIONS[fusion.name].fuse(RoundUploads(step, students), commons, fusion, spread)
        return len(fused.taught) or len(given)

    courses = fuse()
    return seconds_of(fuse) / courses / few if courses else 0.0
