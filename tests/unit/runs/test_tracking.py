import struct
from pathlib import Path
from unittest.mock import Mock

import mlflow
import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2 as records

from fedbridge.core.errors import UserError
from fedbridge.core.metrics import AccuracyRow, summarise
from fedbridge.methods.files import parse_config
from fedbridge.runs import tracking as module
from fedbridge.runs.progress import Progress
from fedbridge.runs.run import Run
from fedbridge.runs.tracking import tracking
from fedbridge.wire import Step

OUTSIDE = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "NETRC",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_MODE",
)


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch, tmp_path):
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def rows(task, right):
    return [
        AccuracyRow("a", task, on, predictor, "class-incremental", right, 10)
        for on in range(1, task + 1)
        for predictor in ("small", "large", "together")
    ]


def progress(done):
    # after the second task 6 of 10 are right, after the first 8
    return Progress(Step(done, 1), done, 2, rows(done, 10 - 2 * done), 100 * done, 10 * done, 1)


def make(folder, *names):
    tree = {"name": "tiny", "seed": 3, "track": {"to": names}}
    return Run.create(folder / "run", parse_config(tree, "tiny"))


def summarise_run(run):
    table = rows(1, 8) + rows(2, 6)
    run.write_summary({"results": summarise(table), "seconds": {"learn": 2.5}})


def carried_out(run):
    with tracking(run) as track:
        track(progress(1))
        track(progress(2))
        summarise_run(run)


def scalars(folder):
    found = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def runs_of_mlflow(folder):
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    place = client.get_experiment_by_name("fedbridge").experiment_id
    return client, client.search_runs([place])


def wandb_records(path: Path):
    """Read a run's file: a header of 7 bytes, then records in blocks of 32 KiB (LevelDB's log)."""
    data, at, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = records.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def items(of):
    return {".".join(item.nested_key) or item.key: item.value_json for item in of}


# -- what is written, read back with each one's own means


def test_tensorboard_has_every_step_and_the_results(tmp_path):
    run = make(tmp_path, "tensorboard")
    carried_out(run)
    found = scalars(run.folder / "tensorboard")
    assert found["accuracy/small"] == [(1, 0.8), (2, 0.6)]
    assert found["bytes/up"] == [(1, 100), (2, 200)]
    assert found["refused"] == [(1, 1), (2, 1)]
    assert found["class-incremental/small/forgetting"] == [(2, 0.2)]
    assert found["seconds/learn"] == [(2, 2.5)]


def test_tensorboard_shows_what_was_done_again_once(tmp_path):
    run = make(tmp_path, "tensorboard")
    with pytest.raises(KeyboardInterrupt), tracking(run) as track:
        track(progress(1))
        track(progress(2))
        raise KeyboardInterrupt
    with tracking(run) as track:
        track(progress(2))
    assert scalars(run.folder / "tensorboard")["accuracy/small"] == [(1, 0.8), (2, 0.6)]


def test_mlflow_has_settings_steps_results_and_the_end(tmp_path):
    run = make(tmp_path, "mlflow")
    carried_out(run)
    client, (found,) = runs_of_mlflow(tmp_path)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "tiny, digits, seed 3"
    assert found.data.params["seed"] == "3" and found.data.params["learner.name"] == "smcf"
    history = client.get_metric_history(found.info.run_id, "accuracy/together")
    assert [(m.step, m.value) for m in history] == [(1, 0.8), (2, 0.6)]
    assert found.data.metrics["class-incremental/small/final_accuracy"] == pytest.approx(0.6)


def test_mlflow_goes_on_with_the_same_run(tmp_path):
    run = make(tmp_path, "mlflow")
    with pytest.raises(KeyboardInterrupt), tracking(run) as track:
        track(progress(1))
        raise KeyboardInterrupt
    client, (found,) = runs_of_mlflow(tmp_path)
    assert found.info.status == "KILLED"
    with pytest.raises(ValueError, match="broken"), tracking(Run.open(run.folder)) as track:
        track(progress(2))
        raise ValueError("broken")
    client, (found,) = runs_of_mlflow(tmp_path)
    assert found.info.status == "FAILED"
    history = client.get_metric_history(found.info.run_id, "bytes/down")
    assert [(m.step, m.value) for m in history] == [(1, 10), (2, 20)]


def test_wandb_is_offline_and_has_settings_steps_and_results(tmp_path):
    run = make(tmp_path, "wandb")
    carried_out(run)
    wandb.teardown()  # what writes for it may still be at it otherwise
    (folder,) = (run.folder / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    found = list(wandb_records(file))
    (about,) = [r.run for r in found if r.HasField("run")]
    assert (about.run_id, about.project) == (run.token, "fedbridge")
    assert about.host == "" and not about.git.remote_url
    assert items(about.config.update)["training.rounds"] == "2"
    history = [items(r.history.item) for r in found if r.HasField("history")]
    assert [float(line["accuracy/small"]) for line in history] == [0.8, 0.6]
    assert [int(line["_step"]) for line in history] == [1, 2]
    summary = {}
    for record in found:
        summary |= items(record.summary.update)
    assert float(summary["class-incremental/small/forgetting"]) == pytest.approx(0.2)
    assert summary["end"] == '"finished"'


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, "", "offline"),
        ({"WANDB_API_KEY": "k"}, "", "online"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "", "offline"),
        ({}, "machine api.wandb.ai login user password p", "online"),
        ({}, "machine other.org login user password p", "offline"),
        ({"WANDB_BASE_URL": "https://w.org"}, "machine w.org login u password p", "online"),
        ({}, "machine", "offline"),
    ],
)
def test_wandb_goes_out_only_with_a_login(environment, netrc, mode, monkeypatch, tmp_path):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".netrc").write_text(netrc)
    (tmp_path / ".netrc").chmod(0o600)
    begun = []
    monkeypatch.setattr(wandb, "init", lambda **options: begun.append(options["mode"]) or Mock())
    carried_out(make(tmp_path, "wandb"))
    assert begun == [mode]


# -- what must not happen


def test_a_run_without_trackers_and_one_that_never_began_leave_nothing(tmp_path):
    run = make(tmp_path)
    carried_out(run)
    other = make(tmp_path / "other", "tensorboard", "mlflow", "wandb")
    with pytest.raises(UserError, match="refused"), tracking(other):
        raise UserError("refused")
    for folder in (run.folder, other.folder):
        assert {p.name for p in folder.iterdir()} <= {
            "config.toml",
            "environment.json",
            "summary.json",
        }
    assert not list(tmp_path.rglob("*.db"))


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(tmp_path, monkeypatch):
    run = make(tmp_path, "mlflow", "tensorboard")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://there")
    carried_out(run)
    (event,) = run.events()
    assert event["kind"] == "warning"
    assert event["message"].startswith("mlflow is left out from here on: ")
    assert scalars(run.folder / "tensorboard")["accuracy/large"] == [(1, 0.8), (2, 0.6)]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_extra_is_named_before_any_work(name, tmp_path, monkeypatch):
    run = make(tmp_path, name)
    monkeypatch.setattr(module, "find_spec", lambda asked: None if asked == name else object())
    with (
        pytest.raises(UserError, match=rf'track.to: "{name}".*pip install "fedbridge\[{name}\]"'),
        tracking(run),
    ):
        raise AssertionError("work has begun")


def test_an_unknown_tracker_is_refused_with_those_that_are_known():
    with pytest.raises(UserError, match=r"track.to.*tensorboard.*mlflow.*wandb.*'neptune'"):
        parse_config({"track": {"to": ["neptune"]}}, "tiny")
