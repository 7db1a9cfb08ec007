"""What a deployment's scripts wait for, in words, and what they give up at."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployments import Backend, backend

from fedbridge.core.errors import UserError
from fedbridge.deploy import reach, ready
from fedbridge.deploy.knock import KNOWN, UNKNOWN, UNSIGNED, registered


def set_ports(folder: Path, **ports: object) -> None:
    """Set NAME=VALUE lines of a folder's settings."""
    path = next(folder.glob("*.env"))
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in ports]
    path.write_text("\n".join([*kept, *(f"{k}={v}" for k, v in ports.items())]), encoding="utf-8")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "PAUSE", 0.01)
    monkeypatch.setattr(ready, "PATIENCE", 0.05)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one.getsockname()[1]


@pytest.fixture
def up(deployment: Path) -> Iterator[Backend]:
    with backend(deployment / "server", {reach.FLEET: UNKNOWN}) as server:
        site = deployment / "clients" / "a"
        set_ports(site, SUPERLINK=f"127.0.0.1:{server.port}", RUNTIME_PORT=free_port())
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_a_superlink_is_not_started_twice(deployment: Path, taken: int):
    set_ports(deployment / "server", SUPERLINK_PORT=taken)
    with pytest.raises(UserError, match=f"SUPERLINK_PORT: port {taken} .*running already"):
        ready.until_ready("superlink", deployment / "server", print)
    set_ports(deployment / "server", SUPERLINK_PORT=free_port())
    ready.until_ready("superlink", deployment / "server", print)


def test_a_supernode_is_not_started_twice(deployment: Path, taken: int):
    set_ports(deployment / "clients" / "a", RUNTIME_PORT=taken)
    with pytest.raises(UserError, match=f"RUNTIME_PORT: port {taken} .*running already"):
        ready.until_ready("client", deployment / "clients" / "a", print)


def test_a_superlink_that_does_not_come_is_given_up_in_words(deployment: Path):
    port, said = free_port(), []
    set_ports(deployment / "server", SUPERLINK_PORT=port)
    with pytest.raises(UserError, match=rf"answers at 127\.0\.0\.1:{port}; start it: \./superlink"):
        ready.until_ready("server", deployment / "server", said.append)
    assert said == [f"waiting, 0 seconds at most: no SuperLink answers at 127.0.0.1:{port}"]


def test_a_site_waits_until_it_is_registered(deployment: Path, up: Backend):
    said: list[str] = []

    def say(words: str) -> None:
        said.append(words)
        up.statuses[reach.FLEET] = KNOWN  # somebody has called register.sh

    ready.until_ready("client", deployment / "clients" / "a", say)
    (words,) = said
    assert words.startswith("waiting: a: the server does not know this key")
    assert words.endswith("at the server: ./register.sh a")


def test_the_question_is_signed_with_the_sites_key_and_lets_nobody_in(
    deployment: Path, up: Backend
):
    site = deployment / "clients" / "a"
    up.statuses[reach.FLEET] = KNOWN
    assert registered(site) == "the server knows this key"
    path, headers, body = up.calls[-1]
    assert path == reach.FLEET and body
    assert {"flwr-timestamp"} <= {name.lower() for name in headers}
    assert headers["Content-Type"] == "application/protobuf"
    up.statuses[reach.FLEET] = UNSIGNED
    with pytest.raises(UserError, match="are both clocks right"):
        registered(site)


def test_what_waiting_does_not_help_ends_at_once(deployment: Path):
    site = deployment / "clients" / "a"
    set_ports(site, SUPERLINK="gate.invalid:1", RUNTIME_PORT=free_port())
    with pytest.raises(UserError, match="no such name"):
        ready.until_ready("client", site, print)


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("run.sh", [], "no client is registered yet; first ./register.sh"),
        ("revoke.sh", [], "name the clients: ./revoke.sh NAME"),
        ("revoke.sh", ["a"], "a is not registered"),
        ("register.sh", ["zed"], "keys/zed.pub is missing"),
    ],
)
def test_a_script_that_is_called_too_early_says_so(
    deployment: Path, script: str, arguments: list[str], words: str
):
    done = called(deployment / "server" / script, *arguments)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and words in done.stderr


@pytest.mark.parametrize(
    ("place", "script", "file"),
    [("server", "superlink.sh", "server.env"), ("server", "gate.sh", "server.env"),
     ("clients/a", "start.sh", "client.env"), ("clients/a", "start.sh", "config.toml")],
)  # fmt: skip
def test_what_a_script_needs_is_named(deployment: Path, place: str, script: str, file: str):
    (deployment / place / file).unlink()
    done = called(deployment / place / script)
    assert done.returncode == 2 and f"{file} is missing" in done.stderr


@pytest.mark.parametrize("script", ["server/register.sh", "server/gate.sh", "clients/a/start.sh"])
def test_an_environment_that_is_not_active_is_told(deployment: Path, script: str):
    done = called(deployment / script, PATH="/usr/bin:/bin")
    assert done.returncode == 2 and "activate the environment" in done.stderr


def test_a_run_that_is_finished_is_not_begun_again(deployment: Path):
    for name in ("nodes", "runs/run"):
        (deployment / "server" / name).mkdir(parents=True)
    (deployment / "server" / "nodes" / "a").write_text("1", encoding="utf-8")
    (deployment / "server" / "runs" / "run" / "summary.json").write_text("{}", encoding="utf-8")
    done = called(deployment / "server" / "run.sh")
    assert done.returncode == 0 and done.stdout.startswith("runs/run is finished; ")


def called(script: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    beside = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    assert shutil.which("sh")
    return subprocess.run(
        [script, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": beside} | more,
        timeout=60,
        check=False,
    )
