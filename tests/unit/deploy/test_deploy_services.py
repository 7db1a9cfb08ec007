"""The examples for systemd and Docker Compose: what they name is there, and may be written to."""

import configparser
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import server_settings

from fedbridge.deploy import folder as deploy

PLACES = {"server": "server", "client": "clients/a"}
UNITS = {
    "fedbridge-superlink.service": "server",
    "fedbridge-gate.service": "server",
    "fedbridge-supernode.service": "client",
}
READ_ONLY = ("/usr", "/boot", "/efi", "/etc")
"""What ``ProtectSystem=full`` forbids to write to."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployment") / "fed"
    deploy.init(folder, server_settings("a", "b"), 30, {})
    return folder


def unit(folder: Path, name: str) -> tuple[str, configparser.ConfigParser]:
    text = (folder / PLACES[UNITS[name]] / name).read_text(encoding="utf-8")
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return text, parser


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_a_script_that_is_there_where_it_may_write(folder: Path, name: str):
    text, parser = unit(folder, name)
    service = parser["Service"]
    script = Path(service["ExecStart"])
    assert os.access(folder / PLACES[UNITS[name]] / script.name, os.X_OK)
    assert script.parent == Path("/srv/fedbridge") / UNITS[name]
    assert service["ProtectSystem"] == "full" and not str(script).startswith(READ_ONLY)
    writes = [line for line in text.splitlines() if "FEDBRIDGE_CACHE" in line]
    assert writes == (
        [] if "gate" in name else [f"Environment=FEDBRIDGE_CACHE={script.parent}/cache"]
    )


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(folder: Path, tmp_path: Path, name: str):
    text, _ = unit(folder, name)
    place = folder / PLACES[UNITS[name]]
    (tmp_path / name).write_text(text.replace(f"/srv/fedbridge/{UNITS[name]}", str(place)))
    command = shutil.which("systemd-analyze")
    if command is None:  # nothing but the parser of the other test then reads units here
        return
    done = subprocess.run(
        [command, "verify", tmp_path / name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("part", PLACES)
def test_services_of_compose_start_scripts_that_are_there(folder: Path, part: str):
    place = folder / PLACES[part]
    described = yaml.safe_load((place / "compose.yaml").read_text(encoding="utf-8"))
    assert set(described) == {"name", "services"}
    services: dict[str, dict[str, Any]] = described["services"]
    for service in services.values():
        (script,) = service["command"]
        assert os.access(place / script, os.X_OK)
        source, target, *_ = service["volumes"][0].split(":")
        assert source == "." and target == service["working_dir"]
        assert service["restart"] == "unless-stopped"
        shared = service.get("network_mode", f"service:{next(iter(services))}")
        assert shared.removeprefix("service:") in services


def test_compose_publishes_the_gates_port_alone(folder: Path):
    text = (folder / "server" / "compose.yaml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    assert [s.get("ports") for s in services.values()] == [["8000:8000"], None]
    assert services["gate"]["network_mode"] == "service:superlink"
