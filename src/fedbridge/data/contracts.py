"""What every data set and every scenario must keep to, to be called in one's own tests.

Each function raises AssertionError, or the UserError that a run would, saying what is not kept.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedbridge.config import FreeOptions, Scenario, checked_options
from fedbridge.data.dataset import Dataset
from fedbridge.data.fitting import require_fitting
from fedbridge.data.spec import DataSource, ScenarioKind
from fedbridge.data.strangers import loaded_parts
from fedbridge.data.streams.scenario import check_disjoint, streams_by
from fedbridge.data.streams.stream import Streams

CLASSES = 6
PER_CELL = 40  # items of a class in a domain and a task


def check_dataset(source: DataSource, options: Mapping[str, Any] | None = None) -> None:
    """Check that a data set says what it is, fits, and is the same whenever it is had.

    With ``options`` it is had as a config sets them; otherwise as it is by default.
    """
    assert source.summary, "summary must say what it is"
    assert source.licences, "licences must be stated"
    found = checked_options(source.options, _options(options), "data.options", "the data set")
    assert _fingerprints(source, found) == _fingerprints(source, found), (
        "must give the same items whenever it is asked"
    )


def check_scenario(kind: ScenarioKind, settings: Scenario | None = None) -> None:
    """Check that a scenario says what it is, keeps to its rules, and is a function of the seed.

    It divides made-up pictures of six classes in two domains, which state two tasks; by default
    between two clients with two tasks of two classes each.
    """
    assert kind.summary, "summary must say what it is"
    settings = settings or Scenario(clients=2, tasks=2)
    dataset = made_up()
    before = [array.copy() for array in (dataset.labels, dataset.groups, dataset.domains)]
    for seed in (0, 1):
        streams = streams_by(kind, dataset, settings, seed)
        _check_streams(streams, dataset, settings)
        again = streams_by(kind, dataset, settings, seed)
        assert _rows(streams) == _rows(again), "must divide in the same way with the same seed"
    after = (dataset.labels, dataset.groups, dataset.domains)
    assert all(map(np.array_equal, before, after)), "must leave the data set as it is"


def made_up() -> Dataset:
    """Return pictures of six classes in two domains and two stated tasks, each a group."""
    cells = np.stack(np.meshgrid(range(CLASSES), range(2), range(2), indexing="ij"), -1)
    labels, domains, tasks = np.repeat(cells.reshape(-1, 3), PER_CELL, 0).T.astype(np.int64)
    count = len(labels)
    pictures = np.random.default_rng(0).integers(0, 256, (count, 3, 16, 16), np.uint8)
    return Dataset(
        name="made up",
        modality="image",
        items=pictures,
        inputs=pictures,
        labels=labels,
        domains=domains,
        groups=np.arange(count),
        classes=tuple("abcdef"),
        domain_names=("here", "there"),
        fingerprint="0" * 64,
        licences=(),
        tasks=tasks,
        task_names=("first", "second"),
    )


def _options(options: Mapping[str, Any] | None) -> FreeOptions | None:
    return None if options is None else FreeOptions(**options)


def _fingerprints(source: DataSource, options: Any) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        if source.load is not None:
            return [mark for _, mark in loaded_parts("NAME", source, options, Path(folder) / "it")]
        assert source.parts is not None
        parts = list(source.parts(source.domains, Path(folder)))
        assert {part.domain for part in parts} >= set(source.domains), "must yield all its domains"
        assert len({part.classes for part in parts}) == 1, "domains must have the same classes"
        for part in parts:
            require_fitting("NAME", part, source.modality)
        return [str(hash(part.inputs.tobytes() + part.labels.tobytes())) for part in parts]


def _check_streams(streams: Streams, dataset: Dataset, settings: Scenario) -> None:
    assert len(streams.clients) == settings.clients, "must have as many clients as the settings say"
    assert len(streams.public), "the public set must not be empty"
    check_disjoint(streams, dataset.groups)
    own = np.concatenate([task.own for client in streams.clients for task in client.tasks])
    assert len(np.unique(own)) == len(own), "each training item must be in one task of one client"
    for client in streams.clients:
        for number, task in enumerate(client.tasks, start=1):
            where = f"task {number} of {client.name!r}"
            assert len(task.own), f"{where} must have an item to train on"
            assert len(task.test), f"{where} must have an item to test on"
            tested = set(dataset.labels[task.test].tolist())
            assert tested <= set(client.seen(number)), f"{where} must test classes that were met"


def _rows(streams: Streams) -> list[Any]:
    """Return everything that a scenario decides, as plain values."""
    tasks = [
        (client.name, task.classes, *(part.tolist() for part in (task.own, task.train, task.test)))
        for client in streams.clients
        for task in client.tasks
    ]
    return [streams.public.tolist(), *tasks]
