"""The configs for data sets of the hub, on pictures of the same form instead of the real ones."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from tiny_runs import conduct

from fedbridge.federation.setup import plan
from fedbridge.methods.config import Config
from fedbridge.methods.files import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
TRAIN, TEST = 40, 2  # pictures of a class


def pictures(kinds: datasets.Features, labels: list[int], seed: int) -> datasets.Dataset:
    """Draw 8 x 8 pictures whose colours tell the class, and fill the columns."""
    draw = np.random.default_rng(seed)
    palette = np.random.default_rng(0).integers(0, 256, (200, 2, 2, 3))
    blocks = palette[labels].repeat(4, axis=1).repeat(4, axis=2)
    noisy = np.clip(blocks + draw.integers(-20, 21, blocks.shape), 0, 255).astype(np.uint8)
    drawn = [Image.fromarray(array) for array in noisy]
    columns = {name: [label // 5 for label in labels] for name in kinds}
    for name, kind in kinds.items():
        if isinstance(kind, datasets.Image):
            columns[name] = drawn
        elif name in ("fine_label", "wnid"):
            columns[name] = labels if name == "fine_label" else [f"n{label:08}" for label in labels]
        elif isinstance(kind, datasets.Value):
            columns[name] = [f"name {label}" for label in labels]
    return datasets.Dataset.from_dict(columns, features=kinds)


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()


@pytest.fixture
def cifar100(tmp_path) -> str:
    kinds = datasets.Features(
        img=datasets.Image(),
        fine_label=datasets.ClassLabel(names=[f"fine-{c}" for c in range(100)]),
        coarse_label=datasets.ClassLabel(names=[f"coarse-{c}" for c in range(20)]),
    )
    both = datasets.DatasetDict(
        train=pictures(kinds, list(range(100)) * TRAIN, 1),
        test=pictures(kinds, list(range(100)) * TEST, 2),
    )
    both.save_to_disk(str(tmp_path / "cifar100"))
    return f"hf:{tmp_path / 'cifar100'}"


@pytest.fixture
def imagenet_r(tmp_path) -> str:
    text = datasets.Value("string")
    kinds = datasets.Features(image=datasets.Image(), wnid=text, class_name=text)
    one = datasets.DatasetDict(test=pictures(kinds, list(range(200)) * 12, 1))
    one.save_to_disk(str(tmp_path / "imagenet-r"))
    return f"hf:{tmp_path / 'imagenet-r'}"


def settings(name: str, data: str, *overrides: str) -> Config:
    small = ['small.models=["mlp"]', "large.model=patches", "large.size=32", "data.hub.side=32"]
    config = load_config(CONFIGS / f"{name}.toml", [*small, "scenario.public=0.1", *overrides])
    return config.model_copy(update={"data": config.data.model_copy(update={"name": data})})


def test_cifar100_is_divided_as_published_and_officially(cifar100):
    dataset, streams = plan(settings("cifar100", cifar100))
    assert (len(dataset), len(dataset.classes)) == (100 * (TRAIN + TEST), 100)
    held = [{c for task in client.tasks for c in task.classes} for client in streams.clients]
    assert [len(classes) for classes in held] == [40] * 5
    alone = [len(mine - set().union(*held[:k], *held[k + 1 :])) for k, mine in enumerate(held)]
    assert alone == [15] * 5
    assert len(set().union(*held)) == 100
    assert all(len(task.classes) == 8 for client in streams.clients for task in client.tasks)
    for task in streams.clients[0].tasks:
        assert (task.test >= 100 * TRAIN).all() and (task.own < 100 * TRAIN).all()
    assert (streams.public < 100 * TRAIN).all()


def test_imagenet_r_gives_every_client_classes_of_its_own(imagenet_r):
    dataset, streams = plan(settings("imagenet-r", imagenet_r))
    assert dataset.split is None and len(dataset.classes) == 200
    held = [{c for task in client.tasks for c in task.classes} for client in streams.clients]
    assert [len(classes) for classes in held] == [40] * 5
    assert len(set().union(*held)) == 200


def test_data_of_the_hub_run_end_to_end(cifar100, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    brief = ("training.rounds=1", "training.epochs=1", "scenario.clients=2", "scenario.tasks=2")
    conduct(tmp_path / "run", settings("cifar100", cifar100, *brief, "engine.workers=0"))
    results = json.loads((tmp_path / "run" / "summary.json").read_text())["results"]
    # 16 of 100 classes: chance is a sixteenth
    assert results["large"]["class-incremental"]["final_accuracy"] > 0.5
