"""A deployment from Python: the same as on the command line."""

from pathlib import Path

import pytest

import fedbridge
from fedbridge.core.errors import UserError
from fedbridge.deploy.keys import names_of, read_certificate

CONFIG = "[scenario]\nclients = 2\ntasks = 2\n"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_it_is_written_checked_and_changed(tmp_path: Path, config: Path):
    folder = tmp_path / "fed"
    made = fedbridge.Deployment.init(folder, ["client-1", "client-2"], ["fed.org"], config)
    assert made.clients == ("client-1", "client-2")
    assert all(finding.ok for finding in made.check(offline=True))
    made.renew(["new.org"])
    assert "new.org" in names_of(read_certificate(folder / "server" / "server.pem"))
    assert made.add("client-3") == folder / "clients" / "client-3"
    assert made.clients[-1] == "client-3"
    with pytest.raises(UserError, match="its clients must be those of the deployment"):
        made.configure(config)


def test_a_part_of_it_is_checked_where_it_lies(tmp_path: Path):
    fedbridge.Deployment.init(tmp_path / "fed", ["a"])
    found = fedbridge.Deployment(tmp_path / "fed" / "clients" / "a").check(offline=True)
    assert {finding.place for finding in found} == {"a"}
    wrong = [finding.what for finding in found if not finding.ok]
    assert "common ground" in wrong  # no config yet


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"port": 65535}, "port: must be from 1 to 65534, found 65535"),
        ({"days": 0}, "days: must be at least 1, found 0"),
        ({"hosts": ["a b"]}, "hosts: must be a DNS name"),
        ({"clients": []}, "clients: must name at least one"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(tmp_path: Path, given, words: str):
    with pytest.raises(UserError, match=words):
        fedbridge.Deployment.init(tmp_path / "fed", **{"clients": ["a"], **given})
    assert not (tmp_path / "fed").exists()


def test_what_is_no_deployment_is_told(tmp_path: Path):
    with pytest.raises(UserError, match="must be a folder that fedbridge deploy init has written"):
        fedbridge.Deployment(tmp_path).add("b")
