"""Whole experiments on own data: arrays in worker processes, tasks from a column, changes."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_runs import conduct, table, tiny

from fedbridge.core.errors import UserError
from fedbridge.core.metrics import PROTOCOLS
from fedbridge.data import from_arrays
from fedbridge.inference import load_predictor
from fedbridge.inference.restore import predictor_of_run
from fedbridge.runs.run import Run, read_accuracy
from sites import pictures, rows, write_csv


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))


def blocks(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures ``(count, 16, 16)`` whose light quarter is their class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 4
    pixels = rng.integers(0, 60, (count, 16, 16)).astype(np.uint8)
    for picture, label in zip(pixels, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        picture[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += np.uint8(150)
    return pixels, labels


def test_arrays_learn_alike_here_and_in_worker_processes(tmp_path):
    data = from_arrays(*blocks(240))
    scenario = {"clients": 2, "tasks": 2, "classes_per_task": 2}
    small = {"models": ["cnn", "mlp"], "dimension": 32}
    tables = []
    for workers in (0, 2):
        config = tiny(data=data.model_dump(), scenario=scenario, small=small,
                      training={"rounds": 1}, engine={"workers": workers})  # fmt: skip
        tables.append(conduct(tmp_path / f"{workers}", config))
    assert tables[0] == tables[1]
    last = [row for row in read_accuracy(tmp_path / "0") if row.after_task == 2]
    large = [
        row.accuracy for row in last if (row.predictor, row.protocol) == ("large", PROTOCOLS[0])
    ]
    assert np.mean(large) > 0.9  # blocks of light are easily told apart


def given(path, tmp_path):
    return tiny(
        data={"name": f"csv:{path}", "own": {"text": "text", "domain": "site", "task": "task"}},
        scenario={"kind": "given", "clients_are": "domains", "clients": 2, "tasks": 3,
                  "classes_per_task": 2, "public_per_class": 4, "train_per_class": None},
        large={"head": "none"},
        small={"models": ["bag"], "dimension": 32},
    )  # fmt: skip


def test_a_stream_with_a_gap_from_a_column(tmp_path):
    made = [row | {"site": ("here", "there")[n % 3 == 0]} for n, row in enumerate(rows(120))]
    kept = [row for row in made if (row["site"], row["task"]) != ("there", "task-2")]
    path = write_csv(tmp_path / "t.csv", kept)
    conduct(tmp_path / "run", given(path, tmp_path))
    measured = read_accuracy(tmp_path / "run")
    last = {client: max(r.after_task for r in measured if r.client == client)
            for client in ("here", "there")}  # fmt: skip
    assert last == {"here": 3, "there": 2}
    (event,) = (e for e in Run.open(tmp_path / "run").events() if e["kind"] == "data")
    assert (event["name"], event["items"], event["left_out"]) == ("csv:t.csv", len(kept), [])
    about = json.dumps(predictor_of_run(tmp_path / "run", "here").about)
    assert "csv:t.csv" in about and str(tmp_path) not in about  # it may leave with the model


def test_a_run_whose_data_have_changed_is_not_resumed(tmp_path):
    for label in ("cat", "dog", "eel", "fox"):
        pictures(tmp_path / "p", label, 20)
    (tmp_path / "p" / "cat" / "bad.png").write_bytes(b"none")
    data = {"name": f"folder:{tmp_path / 'p'}", "own": {"broken": "skip", "side": 32}}
    scenario = {"clients": 2, "tasks": 2, "classes_per_task": 2}
    config = tiny(data=data, scenario=scenario, small={"models": ["mlp"], "dimension": 32})
    conduct(tmp_path / "run", config, until=1)
    before = table(tmp_path / "run")
    (event,) = (e for e in Run.open(tmp_path / "run").events() if e["kind"] == "data")
    assert [line.partition(":")[0] for line in event["left_out"]] == ["cat/bad.png"]
    (tmp_path / "p" / "dog" / "0-7.png").unlink()
    with pytest.raises(
        UserError, match="this run began with 80 items of folder:p, and the data ha"
    ):
        conduct(tmp_path / "run")
    assert table(tmp_path / "run") == before
    pictures(tmp_path / "p", "dog", 20)
    conduct(tmp_path / "run")
    assert Run.open(tmp_path / "run").folder.joinpath("summary.json").is_file()


def test_deep_pictures_are_learnt_and_new_ones_read_the_same_way(tmp_path):
    pixels, labels = blocks(240)
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        path = tmp_path / "scans" / "abcd"[label] / "deep" / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.int32) * 16 - 1000).save(path)
    own = {"levels": [-1000, 3080], "side": 32}
    config = tiny(
        data={"name": f"folder:{tmp_path / 'scans'}", "own": own},
        scenario={"clients": 1, "tasks": 2, "classes_per_task": 2},
        small={"models": ["mlp"], "dimension": 32},
        training={"rounds": 1},
    )
    conduct(tmp_path / "run", config)
    predictor = predictor_of_run(tmp_path / "run")
    assert predictor.reading.levels == (-1000, 3080)
    predictor.save(tmp_path / "kept")
    kept = load_predictor(tmp_path / "kept")
    files = sorted((tmp_path / "scans").rglob("*.tif"))
    shown = [np.asarray(Image.open(path)) for path in files]
    bright = [((values + 1000) // 16).astype(np.uint8) for values in shown]
    answers = kept.predict(files)
    assert answers == kept.predict(shown) == kept.predict(bright)
    right = [path.parent.parent.name == answer for path, answer in zip(files, answers, strict=True)]
    assert np.mean(right) > 0.9
