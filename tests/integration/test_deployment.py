"""A deployment as ``fedbridge deploy init`` writes it, with Flower's own processes on loopback."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from servers import Process, carried_out, free_ports, is_open, wait_until

from fedbridge.deploy import folder as deploy
from fedbridge.deploy import reach
from fedbridge.deploy.keys import new_authority, new_client_key
from fedbridge.deploy.knock import registered
from fedbridge.deploy.reach import NotYetError
from fedbridge.deploy.settings import ServerSettings, read_env

ACCEPTED, REFUSED = "SuperNode ID: ", "Failed to activate SuperNode"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server that is up, and clients a, b and c of whom a and b are registered."""
    folder = tmp_path_factory.mktemp("deployment") / "fed of two"  # a space must do no harm
    port, inner, *runtime = free_ports(5)
    settings = ServerSettings(
        hosts=("127.0.0.1",),
        listen="127.0.0.1",
        port=port,
        superlink_port=inner,
        clients=("a", "b", "c"),
    )
    deploy.init(folder, settings, 30, {"config.toml": "seed = 3\n"})
    for name, own in zip("abc", runtime, strict=True):
        path = folder / "clients" / name / "client.env"
        text = path.read_text(encoding="utf-8").partition("RUNTIME_PORT=")[0]
        path.write_text(f"{text}RUNTIME_PORT={own}\n", encoding="utf-8")
    with ExitStack() as stack:
        for script, its_port in (("superlink.sh", inner), ("gate.sh", port)):
            log = folder.parent / f"{script}.log"
            process = Process([folder / "server" / script], log)
            stack.callback(process.end)
            wait_until(lambda at=its_port: is_open(at), 60.0, log)
        done = carried_out([folder / "server" / "register.sh", "a", "b"])
        assert done.returncode == 0, done.stderr
        yield folder


@pytest.fixture
def settings(deployment: Path) -> ServerSettings:
    return read_env(deployment / "server" / "server.env", ServerSettings)


def connected(
    site: Path, log: Path, *more: str, key: Path | None = None, authority: Path | None = None
) -> Process:
    """Start a SuperNode as start.sh does, but with another key or another CA."""
    (port,) = free_ports(1)
    lines = dict(line.split("=", 1) for line in (site / "client.env").read_text().splitlines())
    return Process(
        [
            "flower-supernode",
            *("--superlink", lines["SUPERLINK"]),
            *("--root-certificates", authority or site / "ca.crt"),
            *("--auth-supernode-private-key", key or site / "key"),
            *("--port", str(port)),
            *more,
        ],
        log,
    )


def test_a_registered_client_is_accepted(deployment: Path, tmp_path: Path):
    node = Process([deployment / "clients" / "a" / "start.sh"], tmp_path / "log")
    try:
        node.wait_for(ACCEPTED)
        number = (deployment / "server" / "nodes" / "a").read_text().strip()
        assert f"{ACCEPTED}{number}" in node.said
    finally:
        node.end()


def test_a_client_that_is_not_registered_waits_and_says_so(deployment: Path, tmp_path: Path):
    node = Process([deployment / "clients" / "c" / "start.sh"], tmp_path / "log")
    try:
        node.wait_for("waiting: c: the server does not know this key")
        assert "./register.sh c" in node.said and ACCEPTED not in node.said
    finally:
        node.end()


def test_the_server_is_asked_whose_key_it_knows_and_nobody_is_let_in_by_that(deployment: Path):
    for _ in range(2):  # whoever asks is not taken for there
        assert registered(deployment / "clients" / "a") == "the server knows this key"
    with pytest.raises(NotYetError, match=r"c: the server does not know this key"):
        registered(deployment / "clients" / "c")


def test_what_is_registered_already_is_said_and_what_is_not_known_is_named(deployment: Path):
    done = carried_out([deployment / "server" / "register.sh", "a"])
    number = (deployment / "server" / "nodes" / "a").read_text().strip()
    assert (done.returncode, done.stdout) == (0, f"a is registered already, as node {number}\n")
    unknown = (("register.sh", "keys/zed.pub is missing"), ("revoke.sh", "not registered"))
    for script, words in unknown:
        done = carried_out([deployment / "server" / script, "zed"])
        assert done.returncode == 2 and words in done.stderr


def test_what_is_running_already_is_not_started_again(deployment: Path):
    for script, words in (("superlink.sh", "SUPERLINK_PORT: port"), ("gate.sh", "gate: ")):
        done = carried_out([deployment / "server" / script])
        assert done.returncode == 2 and "running already" in done.stderr and words in done.stderr


def test_a_key_of_ones_own_making_is_refused(deployment: Path, tmp_path: Path):
    new_client_key(tmp_path / "key", "a")
    node = connected(deployment / "clients" / "a", tmp_path / "log", key=tmp_path / "key")
    try:
        assert node.popen.wait(60) != 0
    finally:
        node.end()
    assert REFUSED in node.said and ACCEPTED not in node.said


def test_a_server_of_another_authority_is_not_believed(deployment: Path, tmp_path: Path):
    new_authority(tmp_path)
    site, authority = deployment / "clients" / "b", tmp_path / "ca.crt"
    node = connected(site, tmp_path / "log", "--max-retries", "1", authority=authority)
    try:
        assert node.popen.wait(60) != 0
    finally:
        node.end()
    assert ACCEPTED not in node.said
    assert "certificate verify failed" in node.said.lower().replace("_", " ")


def test_nobody_can_register_a_key_from_outside(
    deployment: Path, settings: ServerSettings, tmp_path: Path
):
    home = tmp_path / "home"
    home.mkdir()
    authority = deployment / "clients" / "a" / "ca.crt"
    (home / "config.toml").write_text(
        f'[superlink.gate]\naddress = "127.0.0.1:{settings.port}"\n'
        f"root-certificates = '{authority}'\n",
        encoding="utf-8",
    )
    new_client_key(tmp_path / "key", "stranger")
    for command in (["register", tmp_path / "key.pub"], ["list"]):
        done = carried_out(["flwr", "supernode", *command, "gate"], FLWR_HOME=str(home))
        assert done.returncode != 0
        assert "404" in done.stdout + done.stderr


def test_the_gate_is_found_right_and_the_superlink_would_not_be(
    deployment: Path, settings: ServerSettings
):
    authority = deployment / "server" / "ca.crt"
    assert "answers" in reach.check_gate("127.0.0.1", settings.port, authority)
    with pytest.raises(reach.UserError, match="lets everyone who reaches it register keys"):
        reach.check_gate("127.0.0.1", settings.superlink_port, authority)


def test_a_client_is_revoked_at_once_and_for_good(deployment: Path, tmp_path: Path):
    site = tmp_path / "b"
    shutil.copytree(deployment / "clients" / "b", site)
    node = Process([site / "start.sh"], tmp_path / "log")
    try:
        node.wait_for(ACCEPTED)
        done = carried_out([deployment / "server" / "revoke.sh", "b"])
        assert done.returncode == 0, done.stderr
        node.popen.wait(60)
    finally:
        node.end()
    again = Process([site / "start.sh"], tmp_path / "again")
    try:
        again.wait_for("waiting: b: the server does not know this key, or no more")
    finally:
        again.end()
    assert ACCEPTED not in again.said
