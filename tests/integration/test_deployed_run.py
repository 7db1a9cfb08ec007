"""Whole runs over a deployment: the local engine's table, whoever dies, lies, comes or goes."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hostile_site
import pytest
from deployed_sites import CLIENTS, IMPATIENT, Deployment, deployed, of_kind
from forking import forking
from tiny_runs import TREE, conduct, table, tiny

from fedbridge.core.errors import UserError
from fedbridge.federation import local
from fedbridge.methods.config import Config
from fedbridge.report.run import write_page
from fedbridge.runs.launch import resuming
from fedbridge.runs.run import read_accuracy
from fedbridge.wire import Message, Upload, encode
from sites import common, site_file, task

TASKS = {"scenario": {**TREE["scenario"], "tasks": 2}}
TRAIN = "Receiving: train"
"""What a SuperNode says when it begins to work on an exchange."""
ONE_ROUND = {**TASKS, "training": {**TREE["training"], "rounds": 1}}


@pytest.fixture(scope="module")
def deployment(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A server for all runs here; who is there changes."""
    base = tmp_path_factory.mktemp("deployed")
    path = _installed(base / "by-4", 4)
    with (
        forking(base / "forking.log") as programs,
        deployed(base, tiny(), PYTHONPATH=path, PATH=programs) as deployment,
    ):
        yield deployment


def test_a_deployment_gives_the_local_engines_table_and_no_key_speaks_for_another_client(
    deployment: Deployment, tmp_path: Path
):
    config = tiny(**TASKS)
    alike = conduct(tmp_path / "local", config)
    deployment.configure(config)
    thief = tmp_path / "thief"  # who has the third client's key and says to be the second
    shutil.copytree(deployment.site("client-3"), thief)
    for name in ("client.env", "site.toml"):
        text = (thief / name).read_text(encoding="utf-8")
        (thief / name).write_text(text.replace("client-3", "client-2"), encoding="utf-8")
    deployment.start_clients("client-3", folder=thief)
    deployment.start_clients("client-1", "client-2")
    run = deployment.start_run("alike")
    event = deployment.wait_for(run, "turned-away")
    assert event["client"] == "client-2"
    assert event["reason"].endswith("of 'client-2', found that its key is that of 'client-3'")
    assert not of_kind(run, "round")
    deployment.stop_client("client-3")
    deployment.start_clients("client-3")
    deployment.wait_for_end(run)
    assert table(run) == alike
    assert len(of_kind(run, "turned-away")) == 1
    assert json.loads((run / "summary.json").read_text())["refused"] == 0


@pytest.fixture
def places(deployment: Deployment) -> Iterator[dict[Path, bytes]]:
    """Give all sites' own configs, and put back what a test changes in them."""
    folders = deployment.folder / "clients"
    before = {path: path.read_bytes() for path in folders.glob("*/site.toml")}
    yield before
    for path, text in before.items():
        path.write_bytes(text)


@pytest.fixture
def live(deployment: Deployment, places: dict[Path, bytes], tmp_path: Path) -> Config:
    """Have each client look for tasks in a folder of its own; give the common config."""
    for name in CLIENTS:
        (tmp_path / name).mkdir()
        place = {"path": str(tmp_path / name), "layout": "task/class/file", "live": True}
        assert site_file(deployment.site(name), name, kind="images", **place) in places
    return common(
        data={"clients": list(CLIENTS)},
        scenario={"clients": 3, "tasks": 3},
        training={"rounds": 1},
        engine={"quorum": 2, "deadline": 200.0},
    )


def arrives(site: Path, name: str, labels: list[str], seed: int) -> None:
    """Bring a task to a site, complete with the mark of it."""
    task(site / name, labels, seed=seed)
    (site / name / "_DONE").touch()


def test_tasks_arrive_while_one_site_is_ahead_one_joins_late_and_one_leaves(
    deployment: Deployment, live: Config, tmp_path: Path
):
    first, second, third = (tmp_path / name for name in CLIENTS)
    deployment.configure(live)
    arrives(first, "a", ["cat", "dog"], 0)
    arrives(first, "b", ["eel", "fox"], 0)
    arrives(second, "a", ["cat", "eel"], 1)
    arrives(third, "a", ["dog", "fox"], 2)
    deployment.only("client-1", "client-2")
    run = deployment.start_run("live")
    deployment.wait_for(run, "round", 1)
    arrives(second, "b", ["dog", "fox"], 1)
    deployment.stop_client("client-1")  # two are needed from here on, the second and the third
    deployment.start_clients("client-3")
    deployment.wait_for_end(run)
    rows = read_accuracy(run)
    found = {(row.client, row.after_task, row.on_task) for row in rows}
    stayed = {(one, 1, 1) for one in ("client-2", "client-3")} | {
        ("client-2", 2, on) for on in (1, 2)
    }
    # who leaves may have answered once more before it was gone
    assert stayed <= found <= stayed | {("client-1", *place) for place in ((1, 1), (2, 1), (2, 2))}
    right = {
        (r.client, r.after_task, r.on_task): r.accuracy for r in rows if r.predictor == "large"
    }
    assert min(right.values()) > 0.9
    assert "client-3" in {event["client"] for event in of_kind(run, "joined")}
    assert {event["client"] for event in of_kind(run, "absent")} >= {"client-1"}
    summary = json.loads((run / "summary.json").read_text())
    assert summary["refused"] == 0 and summary["results"]["large"]["class-incremental"]


def test_a_site_with_another_foundation_model_is_turned_away_until_it_has_the_right_one(
    deployment: Deployment, places: dict[Path, bytes], tmp_path: Path
):
    wrong = _installed(tmp_path / "by-2", 2)
    for path, text in places.items():  # no site loads a function that it does not name itself
        path.write_bytes(text + b'\n[large]\nmodel = "callable:pooling:encode"\n')
    one_task = {"scenario": {**TREE["scenario"], "tasks": 1}}
    large = {"model": "callable:pooling:encode", "size": 16}
    deployment.configure(tiny(**{**ONE_ROUND, **one_task}, large=large))
    deployment.only("client-1", "client-2")
    deployment.start_clients("client-3", PYTHONPATH=wrong)
    run = deployment.start_run("models")
    event = deployment.wait_for(run, "turned-away")
    assert event["client"] == "client-3"
    assert event["reason"].startswith("the foundation model differs: here callable, sha")
    deployment.stop_client("client-3")
    assert not of_kind(run, "round")
    deployment.stop_run()
    with pytest.raises(UserError, match=r"go on with: \./run\.sh models"):
        resuming(run)
    deployment.start_clients("client-3")
    assert deployment.start_run("models") == run
    deployment.wait_for_end(run)
    assert len(of_kind(run, "turned-away")) == 1


def test_a_supernode_and_the_superlink_are_killed_and_the_table_stays(
    deployment: Deployment, tmp_path: Path
):
    config = tiny(**ONE_ROUND)
    alike = conduct(tmp_path / "local", config)
    deployment.configure(config)
    deployment.only("client-1", "client-3")
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT, encoding="utf-8")
    soon_missed = _with_customs(tmp_path, deployment)
    deployment.start_clients("client-2", **soon_missed)
    before = deployment.processes["client-2"].said.count(TRAIN)
    run = deployment.start_run("killed")
    deployment.wait_for(run, "round", 1)
    deployment.wait_for_word("client-2", TRAIN, before + 2)
    deployment.kill("client-2")  # amid the second exchange
    deployment.start_clients("client-2", **soon_missed)
    deployment.wait_for(run, "round", 2)
    deployment.kill("superlink")
    deployment.kill("run")
    assert not (run / "summary.json").exists()
    deployment.start_server()
    assert deployment.start_run("killed") == run
    deployment.wait_for_end(run)
    assert table(run) == alike
    assert {event["client"] for event in of_kind(run, "failed") + of_kind(run, "lost")} >= {
        "client-2"
    }


def test_a_client_that_tries_every_exchange_changes_nothing_for_the_others(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever it does is refused, but sums of too many items: these count as much as may be."""
    rounds = len(hostile_site.UPLOADS) // 2
    config = tiny(**{**TASKS, "training": {**TREE["training"], "rounds": rounds}})
    with monkeypatch.context() as patch:
        patch.setattr(local, "encode", _as_if_away)
        alike = _others(conduct(tmp_path / "local", config))
    deployment.configure(config)
    deployment.only("client-1", "client-3")
    shutil.copy(hostile_site.__file__, tmp_path / "sitecustomize.py")
    hostile = _with_customs(tmp_path, deployment)
    deployment.start_clients("client-2", **hostile)
    run = deployment.start_run("hostile")
    deployment.wait_for_end(run)
    deployment.stop_client("client-2")
    assert _others(table(run)) == alike and len(alike) > 1
    refused = of_kind(run, "refused")
    assert {event["client"] for event in refused} == {"client-2"}
    deeds = [deed for deed in hostile_site.UPLOADS.values() if deed != "weight"]
    wanted = sorted(hostile_site.SAID[d] for d in [*deeds, *hostile_site.EVALUATIONS.values()])
    assert len(refused) >= len(wanted)  # what was not measured is asked for again
    assert all(any(said in event["reason"] for event in refused) for said in wanted)
    (capped,) = of_kind(run, "capped")
    assert (capped["client"], capped["task"], capped["round"]) == ("client-2", 2, 1)
    assert capped["factor"] < 1e-4 and "large.most" in capped["reason"]
    said = (run / "events.jsonl").read_text(encoding="utf-8") + deployment.processes["run"].said
    shown = said + write_page(run).read_text(encoding="utf-8")
    assert not set("\x07\u202e\u200b") & set(shown) and "\x1b]" not in shown
    assert "?]0;pwned?" in said


def _with_customs(folder: Path, deployment: Deployment) -> dict[str, str]:
    """Return the environment of a site in which the ``sitecustomize`` of a folder is loaded."""
    return {"PYTHONPATH": f"{folder}{os.pathsep}{deployment.more['PYTHONPATH']}"}


def _as_if_away(message: Message) -> bytes:
    """Let one client send nothing that is taken in, but the sums of too many items."""
    data = encode(message)
    if isinstance(message, Upload) and message.client == "client-2":
        if hostile_site.UPLOADS[message.task, message.round] == "weight":
            return hostile_site.spoilt(data, "weight")
        return encode(replace(message, seen=()))
    return data


def _others(accuracies: bytes) -> list[bytes]:
    return [line for line in accuracies.splitlines() if not line.startswith(b"client-2,")]


def _installed(folder: Path, side: int) -> str:
    """Install an FM in a folder, and return the path on which Python finds it there."""
    folder.mkdir()
    text = f"""
from torch.nn.functional import adaptive_avg_pool2d


def encode(pictures):
    return adaptive_avg_pool2d(pictures, {side}).flatten(1)
"""
    (folder / "pooling.py").write_text(text, encoding="utf-8")
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
