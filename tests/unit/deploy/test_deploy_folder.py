import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from deployments import server_settings

from fedbridge.core.errors import UserError
from fedbridge.deploy import folder as deploy
from fedbridge.deploy.keys import names_of, read_certificate, read_client_key, read_public_key
from fedbridge.deploy.settings import ClientSettings, ServerSettings, read_env

PRIVATE = {"ca/ca.key", "server/server.key", "clients/a/key", "clients/b/key"}
SCRIPTS = {
    "server/superlink.sh",
    "server/gate.sh",
    "server/register.sh",
    "server/revoke.sh",
    "server/run.sh",
    "server/stop.sh",
    "clients/a/start.sh",
    "clients/b/start.sh",
}


def files_of(folder: Path) -> dict[str, Path]:
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_lies_where_it_belongs(original: Path):
    found = set(files_of(original))
    client = {"ca.crt", "key", "key.pub", "client.env", "site.toml", "start.sh", "compose.yaml"}
    assert {f"clients/{name}/{file}" for name in "ab" for file in client} <= found
    assert {"ca/ca.crt", "ca/ca.key", "README.md"} <= found
    server = {"ca.crt", "server.pem", "server.key", "server.env", "keys/a.pub", "keys/b.pub"}
    server |= {"app/pyproject.toml", "config.toml", "compose.yaml"}
    assert {f"server/{file}" for file in server} | SCRIPTS <= found


def test_private_keys_lie_with_their_owners_alone_and_are_private(original: Path):
    files = files_of(original)
    secret = {name for name, path in files.items() if b"PRIVATE KEY" in path.read_bytes()}
    assert secret == PRIVATE
    assert {mode(files[name]) for name in PRIVATE} == {0o600}


def test_no_folder_lets_others_look_in(original: Path):
    folders = [original, *(path for path in original.rglob("*") if path.is_dir())]
    assert {mode(path) for path in folders} == {0o700}


def test_scripts_and_they_alone_can_be_started(original: Path):
    files = files_of(original)
    assert {name for name, path in files.items() if mode(path) & 0o100} == SCRIPTS


def test_scripts_are_understood_by_a_plain_shell(original: Path):
    for path in original.rglob("*.sh"):
        done = subprocess.run(["sh", "-n", path], capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, (path, done.stderr)


RUNS = """{
  "runs": [
    { "run-id": "31", "fab-name": "fedbridge-app", "status": "running", "status-details": "N/A" },
    { "run-id": "32", "fab-name": "fedbridge-app", "status": "finished:failed" },
    { "run-id": "33", "fab-name": "fedbridge-app", "status": "starting", "status-details": "N/A" }
  ]
}"""


@pytest.fixture
def flower(tmp_path: Path) -> dict[str, str]:
    """Give an environment in which ``flwr`` knows three runs and notes what else it is asked."""
    text = f"""#!/bin/sh
if [ "$1" = list ]; then cat <<END
{RUNS.replace(", ", f",{chr(10)}")}
END
else echo "$*" >>'{tmp_path / "asked"}'; fi
"""
    for name, script in (("flwr", text), ("fedbridge", "#!/bin/sh\n")):  # the SuperLink is up
        (tmp_path / name).write_text(script, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}


def test_what_is_running_and_that_alone_is_stopped(
    deployment: Path, flower: dict[str, str], tmp_path: Path
):
    subprocess.run([deployment / "server" / "stop.sh"], env=flower, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["stop 31 fedbridge", "stop 33 fedbridge"]


def register(deployment: Path) -> None:
    (deployment / "server" / "nodes").mkdir()
    (deployment / "server" / "nodes" / "a").write_text("7\n", encoding="utf-8")


def test_a_run_that_did_not_come_to_its_end_is_told(
    deployment: Path, flower: dict[str, str], tmp_path: Path
):
    register(deployment)
    script, run = deployment / "server" / "run.sh", deployment / "server" / "runs" / "first"
    done = subprocess.run([script, "first"], env=flower, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"./run.sh first resumes it" in done.stderr
    run.mkdir()
    (run / "summary.json").touch()
    subprocess.run([script, "first"], env=flower, check=True)  # it is finished: nothing is begun
    assert (tmp_path / "asked").read_text().count("run app fedbridge --stream") == 1


def test_what_scripts_make_others_cannot_read(deployment: Path, flower: dict[str, str]):
    register(deployment)
    before = os.umask(0o022)
    try:
        subprocess.run([deployment / "server" / "run.sh"], env=flower, check=False)
    finally:
        os.umask(before)
    made = [deployment / "server" / name for name in ("flwr", "flwr/config.toml", "runs")]
    assert [mode(path) & 0o077 for path in made] == [0, 0, 0]


def test_nothing_is_left_to_be_filled_in(original: Path):
    for path in files_of(original).values():
        assert not re.search(r"\{\{|\{%|\}\}", path.read_text(encoding="utf-8")), path


def test_no_file_names_the_place_where_it_was_made(original: Path):
    for path in files_of(original).values():
        assert str(original) not in path.read_text(encoding="utf-8"), path


def test_the_server_knows_the_key_of_every_client(original: Path):
    for name in "ab":
        known = read_public_key(original / "server" / "keys" / f"{name}.pub")
        assert known == read_client_key(original / "clients" / name / "key").public_key()


def test_every_client_gets_settings_of_its_own(original: Path):
    settings = [read_env(original / "clients" / n / "client.env", ClientSettings) for n in "ab"]
    assert [s.client for s in settings] == ["a", "b"]
    assert {s.superlink for s in settings} == {"fed.example.org:8000"}
    assert [s.runtime_port for s in settings] == [9094, 9095]
    site = tomllib.loads((original / "clients" / "b" / "site.toml").read_text(encoding="utf-8"))
    assert site == {"client": "b", "state": "state", "data": {"kind": "experiment"}}


def test_all_get_the_same_config(original: Path):
    copies = [path for name, path in files_of(original).items() if name.endswith("config.toml")]
    assert len(copies) == 3
    assert {path.read_text(encoding="utf-8") for path in copies} == {"seed = 3\n"}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_place_in_use_is_refused_and_stays(tmp_path: Path, kind: str):
    place = tmp_path / "fed"
    kept = place if kind == "file" else place / "kept"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="must be a new or an empty folder"):
        deploy.init(place, server_settings("a"), 365, {})
    assert kept.read_text(encoding="utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["fed"]


def test_an_empty_folder_will_do(tmp_path: Path):
    (tmp_path / "fed").mkdir()
    deploy.init(tmp_path / "fed", server_settings("a"), 365, {})
    assert (tmp_path / "fed" / "clients" / "a" / "key").is_file()


def test_what_fails_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(path: Path, client: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(deploy, "new_client_key", full)
    with pytest.raises(UserError, match="fed: cannot be written: disk full"):
        deploy.init(tmp_path / "fed", server_settings("a"), 365, {})
    assert list(tmp_path.iterdir()) == []


def test_a_client_can_be_added(deployment: Path):
    before = {name: path.read_bytes() for name, path in files_of(deployment).items()}
    made = deploy.add(deployment, "c")
    assert made == deployment / "clients" / "c"
    settings = read_env(deployment / "server" / "server.env", ServerSettings)
    assert settings.clients == ("a", "b", "c")
    client = read_env(made / "client.env", ClientSettings)
    assert (client.client, client.runtime_port) == ("c", 9096)
    assert read_public_key(deployment / "server" / "keys" / "c.pub") == read_public_key(
        made / "key.pub"
    )
    assert (made / "config.toml").read_text(encoding="utf-8") == "seed = 3\n"
    assert mode(made) == 0o700 and mode(made / "key") == 0o600
    after = files_of(deployment)
    changed = {name for name, content in before.items() if after[name].read_bytes() != content}
    assert changed == {"server/server.env"}


def test_a_client_is_added_without_the_authoritys_key(deployment: Path):
    (deployment / "ca" / "ca.key").unlink()
    assert (deploy.add(deployment, "c") / "key").is_file()


@pytest.mark.parametrize("name", ["a", "A"])
def test_a_client_cannot_be_added_twice(deployment: Path, name: str):
    key = (deployment / "clients" / "a" / "key").read_bytes()
    with pytest.raises(UserError, match="there is already a client"):
        deploy.add(deployment, name)
    assert (deployment / "clients" / "a" / "key").read_bytes() == key


def test_a_client_needs_a_deployment(tmp_path: Path):
    with pytest.raises(UserError, match="must be a folder that fedbridge deploy init has written"):
        deploy.add(tmp_path, "c")


def test_an_added_client_that_was_cut_off_can_be_added_again(deployment: Path):
    shutil.rmtree(deploy.add(deployment, "c"))
    made = deploy.add(deployment, "c")
    assert read_public_key(deployment / "server" / "keys" / "c.pub") == read_public_key(
        made / "key.pub"
    )
    clients = read_env(deployment / "server" / "server.env", ServerSettings).clients
    assert clients == ("a", "b", "c")


def test_a_certificate_is_renewed(deployment: Path):
    before = read_certificate(deployment / "server" / "server.pem")
    deploy.renew(deployment, (), 10)
    after = read_certificate(deployment / "server" / "server.pem")
    assert after.serial_number != before.serial_number
    assert names_of(after) == names_of(before)
    after.verify_directly_issued_by(read_certificate(deployment / "clients" / "a" / "ca.crt"))
    assert mode(deployment / "server" / "server.key") == 0o600


def test_a_certificate_is_renewed_for_other_names(deployment: Path):
    deploy.renew(deployment, ["new.example.org"], 10)
    names = {"new.example.org", "localhost", "127.0.0.1"}
    assert names_of(read_certificate(deployment / "server" / "server.pem")) == names
    settings = read_env(deployment / "server" / "server.env", ServerSettings)
    assert settings.address == "new.example.org:8000"


def test_renewing_needs_the_authoritys_key(deployment: Path):
    (deployment / "ca" / "ca.key").unlink()
    before = (deployment / "server" / "server.key").read_bytes()
    with pytest.raises(UserError, match=r"ca\.key: must be a private key"):
        deploy.renew(deployment, (), 10)
    assert (deployment / "server" / "server.key").read_bytes() == before
    assert {path.name for path in deployment.iterdir()} == {"ca", "server", "clients", "README.md"}


def test_a_shared_file_reaches_all(deployment: Path):
    settings = read_env(deployment / "server" / "server.env", ServerSettings)
    deploy.share(deployment, settings, {"config.toml": "seed = 4\n"})
    for part in ("server", "clients/a", "clients/b"):
        assert (deployment / part / "config.toml").read_text(encoding="utf-8") == "seed = 4\n"
        assert not [name for name in os.listdir(deployment / part) if "draft" in name]
