"""How fast this machine is at the steps that a run is made of, tried on a few batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from fedbridge.client import LEARNERS
from fedbridge.client.lesson import Lesson, Share
from fedbridge.data.dataset import Dataset
from fedbridge.data.scenario import ClientStream
from fedbridge.models.commons import Commons
from fedbridge.models.head import Sums, one_hot
from fedbridge.models.space import embed, stored
from fedbridge.server.fusions import FUSIONS, Gathered
from fedbridge.server.knowledge import Knowledge, Student
from fedbridge.wire import Step

BATCHES = 4
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
    """Per public item of one teacher's lesson."""


@dataclass(frozen=True)
class HeadPace:
    """Seconds that the head of the large side takes here."""

    solve: float
    """Per candidate head."""
    sum_up: float
    """Per item that goes into the sums."""


def pace_of(commons: Commons, dataset: Dataset, stream: ClientStream, model: str) -> Pace:
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
    )


def pace_of_head(commons: Commons) -> HeadPace:
    """Try the sums of random features, and one solution."""
    size, classes = commons.lift.dimension, len(commons.classes)
    z = np.random.default_rng(0).standard_normal((ITEMS, size)).astype(np.float32)
    targets = one_hot(np.arange(ITEMS) % classes, classes)
    sums = Sums.of(z, targets)
    return HeadPace(
        solve=seconds_of(lambda: sums.ridge(0.1)),
        sum_up=seconds_of(lambda: Sums.of(z, targets)) / ITEMS,
    )


def seconds_of(function: Callable[[], object], tries: int = 3) -> float:
    """Return the seconds that the fastest of a few calls takes: what else runs only slows."""
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _learning(commons: Commons, dataset: Dataset, stream: ClientStream, model: str) -> float:
    """Return the seconds of one training step, with every term of the learner's loss at work."""
    once = commons.config.training.model_copy(update={"epochs": 1})
    config = commons.config.model_copy(update={"training": once})
    commons = replace(commons, config=config)
    small = commons.small_model(model, stream.name).train()

    def study(batches: int) -> None:
        lesson = _lesson(commons, dataset, stream, batches)
        LEARNERS[config.learner.name].learn(replace(lesson, model=small), config.learner)

    study(1)
    return seconds_of(lambda: study(BATCHES)) / BATCHES


def _lesson(commons: Commons, dataset: Dataset, stream: ClientStream, batches: int) -> Lesson:
    """Return a lesson of the client's last task with random answers of both teachers."""
    config, last = commons.config, sorted(stream.tasks[-1].met)
    generator = torch.Generator().manual_seed(0)
    seen = stream.seen(len(stream.tasks))
    remembers = getattr(config.learner, "memory", 0) and len(stream.tasks) > 1

    def share(count: int) -> Share:
        rows = np.resize(np.concatenate([task.train for task in stream.tasks]), count)
        parts = (
            stored(dataset.inputs[rows]),
            torch.from_numpy(dataset.labels[rows]),
            torch.full((count, config.small.dimension), config.small.dimension**-0.5),
            torch.rand(count, len(commons.classes), generator=generator),
            torch.from_numpy(rows),
        )
        return Share(*(part.to(commons.device) for part in parts))

    def ids(classes: list[int]) -> torch.Tensor:
        return torch.tensor(classes, dtype=torch.int64, device=commons.device)

    model = commons.small_model(config.small.models[0], stream.name)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    return Lesson(
        model=model,
        commons=commons,
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
    )


def _fusing(commons: Commons, stream: ClientStream, model: str) -> float:
    """Return the seconds that one teacher's lesson takes per item of U."""
    few = min(ITEMS, len(commons.public_inputs))
    commons = replace(
        commons,
        public_inputs=commons.public_inputs[:few],
        public_features=commons.public_features[:few],
    )
    classes = tuple(stream.seen(len(stream.tasks)))
    state = {k: v.cpu() for k, v in commons.small_model(model, stream.name).state_dict().items()}
    generator = torch.Generator().manual_seed(0)

    def known(name: str) -> Knowledge:
        noise = torch.randn(few, commons.config.small.dimension, generator=generator)
        return Knowledge(name, classes, torch.nn.functional.normalize(noise).to(commons.device))

    students = [Student(n, model, state, known(n), (known(f"{n}@task-1"),)) for n in ("a", "b")]
    fusion = commons.config.fusion

    def fuse() -> int:
        step = Step(1, commons.config.training.rounds)  # there may be fusion in the last one only
        gathered = Gathered(step, students)
        fused = FUSIONS[fusion.name].fuse(
            gathered, commons, fusion, lambda do, jobs: [do(commons, job) for job in jobs]
        )
        return len(fused.taught)

    lessons = fuse()
    return seconds_of(fuse) / lessons / few if lessons else 0.0
