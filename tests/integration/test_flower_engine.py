"""Flower's engine gives the local engine's table, and leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
from eavesdropping import listen, uploads_of
from flwr.app import Message
from tiny_runs import conduct, table, tiny

from fedbridge.federation.flower.records import BODY, HEAD
from fedbridge.federation.flower.roster import WHO
from fedbridge.federation.flower.transport import FlowerTransport
from fedbridge.inference.restore import predictor_of_run
from fedbridge.methods.config import Config
from fedbridge.methods.files import dump_config
from fedbridge.runs import flower_app
from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment
from fedbridge.wire import encode
from grids import Clock, FakeGrid, misfortunes


@pytest.fixture(scope="module")
def alike(whole: Path) -> bytes:
    """Return the table of the local engine."""
    return table(whole)


def chosen(events: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    """Return what clients took of their fused models, and what that brought."""
    names = ("client", "task", "percent", "own", "taken", "n")
    return sorted(tuple(e[n] for n in names) for e in events if e["kind"] == "accepted")


@pytest.fixture
def scratch():
    """Give a folder for temporary files; its path is short, as sockets need it."""
    folder = tempfile.mkdtemp(prefix="t-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


def started(arguments: list[str], scratch: Path) -> "subprocess.Popen[str]":
    # what is started in the background of a shell inherits that Ctrl-C is ignored
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"import sys; sys.argv = ['fedbridge', *{arguments!r}]\n"
    code += "from fedbridge.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(scratch: Path) -> list[str]:
    """Return processes and folders of a run that has ended."""
    found = [str(path) for path in scratch.iterdir()]
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(scratch):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


def test_a_simulation_gives_the_same_table_and_leaves_nothing(tmp_path, scratch, alike):
    config = tmp_path / "tiny.toml"
    config.write_text(dump_config(tiny(engine={"workers": 2, "device": "cpu"})))
    arguments = ["run", str(config), "--out", str(tmp_path / "run"), "--engine", "flower"]
    process = started(arguments, scratch)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "task 3 round 2: small" in said and "Error" not in said
    assert table(tmp_path / "run") == alike
    assert left_behind(scratch) == []
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["refused"] == 0


def test_a_simulation_that_is_stopped_leaves_nothing_and_goes_on(tmp_path, scratch, alike):
    folder = tmp_path / "run"
    Run.create(folder, tiny(engine={"kind": "flower", "workers": 1, "device": "cpu"}))
    process = started(["resume", str(folder)], scratch)
    while not (folder / "checkpoints" / "step-0002").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    assert process.returncode == 130, said
    assert said.endswith(f"stopped; go on with: fedbridge resume {folder}\n")
    assert left_behind(scratch) == []
    process = started(["resume", str(folder), "--quiet"], scratch)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert table(folder) == alike
    assert left_behind(scratch) == []


UNLIKE = {
    "late, early and rarely": {
        "scenario": {"joins": [1, 2, 1], "leaves": [3, 3, 2], "participation_rounds": [2, 1, 2]}
    },
    "a head trained by gradient": {"large": {"head": "probe"}, "learner": {"memory": 0}},
    "own sums alone": {"large": {"scope": "client"}},
    "never choosing": {"fusion": {"accept": False}},
}


def conduct_amid_misfortunes(folder: Path, config: Config, seed: int) -> list[dict[str, Any]]:
    """Carry out a run with clients in this process over a bad line; return its events."""
    run, clock, text = Run.create(folder, config), Clock(), dump_config(config)

    def place(context):
        client = context.node_config["client"]
        return flower_app.Place(client, folder / "clients" / client, text)

    def connect(site):
        grid = FakeGrid(flower_app.client_app_of(place), tuple(site.models), clock)
        grid.fate = misfortunes(seed, 2)
        # a new process knows nothing of the old one's clients
        grid.restarted = lambda name: flower_app.resident.cache_clear()
        return FlowerTransport(grid, run, config.engine, flower_app.server_worker_pool(site), clock)

    for _ in Experiment(run, connect=connect).run_steps():
        pass
    return run.events()


class Amid(NamedTuple):
    """A run amid misfortunes, and all that its clients answered."""

    folder: Path
    events: list[dict[str, Any]]
    replies: list[Message]


@pytest.fixture(scope="module")
def amid(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Amid:
    folder, replies, reply = tmp_path_factory.mktemp("amid") / "run", [], FakeGrid.reply

    def aloud(grid: FakeGrid, message: Message, delay: float) -> None:
        replies.append(message)
        reply(grid, message, delay)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeGrid, "reply", aloud)
        return Amid(folder, conduct_amid_misfortunes(folder, tiny(), seed=1), replies)


def test_clients_that_restart_and_messages_that_are_lost_change_no_number(amid, whole, alike):
    assert table(amid.folder) == alike
    told = chosen(Run.open(whole).events())
    assert len(told) == 9 and chosen(amid.events) == told
    # embeddings of single items stay where the items are
    assert (whole / "embeddings.json").is_file()
    assert not (amid.folder / "embeddings.json").exists()
    assert {e["kind"] for e in amid.events} > {"round", "failed"}


def test_other_misfortunes_change_no_number_either(tmp_path, alike):
    events = conduct_amid_misfortunes(tmp_path / "run", tiny(), seed=2)
    assert table(tmp_path / "run") == alike
    assert {e["kind"] for e in events} > {"round", "failed"}


def test_a_client_predicts_as_it_would_after_a_local_run(amid, whole):
    x = np.random.default_rng(0).integers(0, 256, (20, 1, 16, 16)).astype(np.uint8)
    one, other = (predictor_of_run(folder, "client-2") for folder in (whole, amid.folder))
    for using in one.usable:
        assert np.array_equal(one.predict_proba(x, using), other.predict_proba(x, using))


def test_the_server_gets_the_uploads_of_the_local_engine_and_nothing_beside_them(amid, tmp_path):
    heard = {"evaluation": set(), "upload": set(), WHO: set()}
    for content in (message.content for message in amid.replies if message.has_content()):
        assert set(content) in ({HEAD, BODY}, {WHO}, set())  # who is idle says nothing
        if WHO in content:
            heard[WHO].add(tuple(sorted(content[WHO].items())))
        elif HEAD in content:
            assert set(content[HEAD]) == {"client", "number", "refusal"}
            assert content[HEAD]["refusal"] == ""
            for name, array in content[BODY].items():
                heard[name].add(array.data)
    said = {(("client", f"client-{k}"), ("hello", b""), ("refusal", "")) for k in (1, 2, 3)}
    assert heard[WHO] == said
    locally = listen(tmp_path / "local", tiny())
    assert heard["upload"] == {encode(upload) for upload in uploads_of(locally)}
    assert len(heard["upload"]) == 6 * 3
    assert heard["evaluation"] <= set(locally) and len(heard["evaluation"]) == 4 * 3


@pytest.mark.parametrize("case", UNLIKE)
def test_every_kind_of_run_gives_the_same_table(cache, tmp_path, case):
    conduct_amid_misfortunes(tmp_path / "run", tiny(**UNLIKE[case]), 3)
    assert table(tmp_path / "run") == conduct(tmp_path / "local", tiny(**UNLIKE[case]))
