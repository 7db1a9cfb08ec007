"""Whole runs over a deployment: the local engine's table, whoever dies and comes back."""

import os
from pathlib import Path

import pytest
from deployed_sites import CLIENTS, deployed, of_kind
from tiny_runs import TREE, conduct, table, tiny

TASKS = {"scenario": {**TREE["scenario"], "tasks": 2}}


@pytest.fixture(scope="module")
def alike(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the table of the local engine."""
    return conduct(tmp_path_factory.mktemp("local") / "run", tiny(**TASKS))


def test_a_deployment_gives_the_local_engines_table(tmp_path: Path, alike: bytes):
    with deployed(tmp_path, tiny(**TASKS)) as deployment:
        for name in CLIENTS:
            deployment.start_client(name)
        run = deployment.start_run("run")
        deployment.wait_for_end(run)
        assert table(run) == alike


def test_a_supernode_and_the_superlink_are_killed_and_the_table_stays(tmp_path: Path):
    config = tiny(**TASKS, training={**TREE["training"], "rounds": 1})
    alike = conduct(tmp_path / "local", config)
    with deployed(tmp_path, config) as deployment:
        for name in CLIENTS:
            deployment.start_client(name)
        run = deployment.start_run("run")
        deployment.wait_for(run, "round", 1)
        deployment.kill("client-2")
        deployment.start_client("client-2")
        deployment.wait_for(run, "round", 2)
        deployment.kill("superlink")
        deployment.kill("run")
        assert not (run / "summary.json").exists()
        deployment.start_server()
        assert deployment.start_run("run") == run
        deployment.wait_for_end(run)
        assert table(run) == alike


def test_a_site_with_another_foundation_model_is_turned_away_until_it_has_the_right_one(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    right, wrong = (_installed(tmp_path / f"by-{side}", side) for side in (4, 2))
    monkeypatch.syspath_prepend(tmp_path / "by-4")
    one_round = {"training": {**TREE["training"], "rounds": 1}}
    config = tiny(**TASKS, **one_round, large={"model": "callable:pooling:encode", "size": 16})
    with deployed(tmp_path, config, PYTHONPATH=right) as deployment:
        for name in CLIENTS:  # no site loads a function that it does not name itself
            with (deployment.site(name) / "site.toml").open("a", encoding="utf-8") as file:
                file.write('\n[large]\nmodel = "callable:pooling:encode"\n')
        deployment.start_client("client-1")
        deployment.start_client("client-3", PYTHONPATH=wrong)
        run = deployment.start_run("run")
        event = deployment.wait_for(run, "turned-away")
        assert event["client"] == "client-3"
        assert event["reason"].startswith("the foundation model differs: here callable, sha")
        deployment.start_client("client-2")
        deployment.processes["client-3"].end()
        assert not of_kind(run, "round")
        deployment.start_client("client-3")
        deployment.wait_for(run, "round")
        assert len(of_kind(run, "turned-away")) == 1


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
