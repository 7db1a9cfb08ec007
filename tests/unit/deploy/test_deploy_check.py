import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from deployments import backend
from PIL import Image

from fedbridge.core.errors import UserError
from fedbridge.core.files import write_text
from fedbridge.deploy import folder as deploy
from fedbridge.deploy import reach, readiness
from fedbridge.deploy.agreement import common_files
from fedbridge.deploy.check import CheckResult, check
from fedbridge.deploy.settings import ServerSettings, read_env
from fedbridge.federation.agreement import agreement
from fedbridge.methods.files import load_config
from sites import common as common_config
from sites import site_file, with_config

CONFIG = """
[scenario]
clients = 2
tasks = 2
[small]
models = ["mlp"]
"""
NAMES = ("client-1", "client-2")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, cache: None) -> dict[str, str]:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(CONFIG, encoding="utf-8")
    return common_files(path, NAMES)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


@pytest.fixture
def ready(tmp_path: Path, common: dict[str, str]) -> Path:
    """A deployment on this machine with a config; nothing of it is started."""
    settings = ServerSettings(
        hosts=("127.0.0.1",), port=free_port(), superlink_port=9, clients=NAMES
    )
    deploy.init(tmp_path / "fed", settings, 365, common)
    return tmp_path / "fed"


def wrong(findings: list[CheckResult]) -> list[tuple[str, str]]:
    return [(finding.place, finding.what) for finding in findings if not finding.ok]


def test_a_new_deployment_is_right(ready: Path):
    findings = check(ready, offline=True)
    assert wrong(findings) == []
    assert {finding.place for finding in findings} == {"ca", "server", *NAMES}


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("server", {"server"}),
        ("server/server.env", {"server"}),
        ("clients/client-2", {"client-2"}),
        ("clients/client-2/site.toml", {"client-2"}),
    ],
)
def test_a_part_can_be_checked_where_it_lies(ready: Path, path: str, places: set[str]):
    findings = check(ready / path, offline=True)
    assert wrong(findings) == []
    assert {finding.place for finding in findings} == places


@pytest.mark.parametrize("path", [".", "missing"])
def test_another_folder_is_refused(tmp_path: Path, path: str):
    with pytest.raises(UserError, match="must be a folder that fedbridge deploy init has written"):
        check(tmp_path / path)


def test_a_server_that_is_down_is_told_at_both_sides(ready: Path):
    findings = check(ready)
    theirs = [(name, what) for name in NAMES for what in ("server", "registered", "clock")]
    assert wrong(findings) == [("server", "gate"), *theirs]
    assert all("nothing listens there" in f.words for f in findings if not f.ok)


def test_a_server_that_is_up_is_found(ready: Path):
    with backend(ready / "server", {reach.FLEET: 400}) as up:
        settings = read_env(ready / "server" / "server.env", ServerSettings)
        for file in ("server/server.env", *(f"clients/{name}/client.env" for name in NAMES)):
            text = (ready / file).read_text(encoding="utf-8")
            write_text(ready / file, text.replace(str(settings.port), str(up.port)))
        assert wrong(check(ready)) == []


def change(file: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = (folder / file).read_text(encoding="utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")

    return damage


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


HERE = "clients/client-1/"
DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "another seed": (change(HERE + "config.toml", "seed = 0\n", "seed = 1\n"), "common ground",
                     "the anchors differ: here seed 1, dimension 256"),
    "another size": (change(HERE + "config.toml", '\nsize = "auto"', "\nsize = 16"),
                     "common ground",
                     "the foundation model differs: here patches, sha256"),
    "wrong config": (change(HERE + "config.toml", "rounds = 2", "rounds = 0"), "common ground",
                     "training.rounds: .*found 0"),
    "no config": (remove(HERE + "config.toml"), "common ground", "config.toml: is missing"),
    "no agreement": (remove(HERE + "agreed.json"), "common ground", "agreed.json: must be as"),
    "rubbish": (change(HERE + "agreed.json", "{", "["), "common ground", "agreed.json: must be as"),
    "model gone": (change(HERE + "config.toml", '"patches"', '"onnx:gone.onnx"'), "common ground",
                   "large.model: .*gone.onnx"),
    "another site": (change(HERE + "site.toml", '"client-1"', '"client-2"'), "site",
                     "client: must be 'client-1', found 'client-2'"),
    "wrong site": (change(HERE + "site.toml", "experiment", "photos"), "site", "found 'photos'"),
    "own data": (change(HERE + "site.toml", '"experiment"', '"images"\npath = "/no/where"'),
                 "site", "data.kind: must be 'experiment' unless"),
    "settings": (change(HERE + "client.env", "SUPERLINK=", "SERVER="), "settings", "SUPERLINK"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "what", "words"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_wrong_at_a_site_is_told(
    ready: Path, damage: Callable[[Path], None], what: str, words: str
):
    damage(ready)
    findings = {f.what: f for f in check(ready / "clients" / "client-1", offline=True)}
    assert not findings[what].ok
    assert re.search(words, findings[what].words), findings[what].words
    # what needs the same file cannot be right either; certificates and keys stay right
    assert {f.what for f in findings.values() if not f.ok} <= {"settings", "common ground", "site"}


SITES = """
[data]
name = "site"
clients = ["client-1", "client-2"]
classes = ["cat", "dog"]
modality = "image"
size = 16
public = "digits"
public_items = 20
[scenario]
clients = 2
tasks = 1
classes_per_task = 2
[small]
models = ["mlp"]
"""


@pytest.fixture
def sites(ready: Path, tmp_path: Path) -> Path:
    """The same deployment for sites with pictures of their own, 20 of each class."""
    for label, colour in (("cat", 0), ("dog", 100)):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(20):
            pixels = np.full((8, 8, 3), colour + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{number}.png")
    path = tmp_path / "sites.toml"
    path.write_text(SITES, encoding="utf-8")
    settings = read_env(ready / "server" / "server.env", ServerSettings)
    deploy.share(ready, settings, common_files(path, NAMES))
    for name in NAMES:
        own = f'client = "{name}"\n[data]\nkind = "images"\npath = "{tmp_path / "pictures"}"\n'
        (ready / "clients" / name / "site.toml").write_text(own, encoding="utf-8")
    return ready


def test_a_sites_own_pictures_are_read(sites: Path):
    assert wrong(check(sites, offline=True)) == []
    findings = {f.what: f.words for f in check(sites / "clients" / "client-1", offline=True)}
    assert findings["site"] == "images: 40 items in 1 tasks"
    assert "2 classes" in findings["common ground"]


def test_what_was_found_out_of_a_sites_table_is_told(tmp_path: Path):
    rows = "".join(f"{30 + n % 9},{n % 10};{('cat', 'dog')[n % 2]}\n" for n in range(60))
    (tmp_path / "t.csv").write_text("temp;label\n" + rows)
    site_file(tmp_path, kind="csv", path="t.csv", features=["temp"])
    with_config(tmp_path, common_config("text"))
    told = readiness.site(tmp_path, "north")
    assert told.startswith(
        "csv: 60 items in 1 tasks; read ';' as what stands between values; data."
    )
    assert "; read numbers as with a decimal comma (30,0); data.decimal" in told


def test_a_picture_that_cannot_be_read_is_told(sites: Path, tmp_path: Path):
    (tmp_path / "pictures" / "cat" / "3.png").write_bytes(b"rubbish")
    (finding,) = (f for f in check(sites / "clients" / "client-1", offline=True) if not f.ok)
    assert finding.what == "site" and "3.png" in finding.words


def test_what_a_site_leaves_out_is_told(sites: Path, tmp_path: Path):
    (tmp_path / "pictures" / "cat" / "3.png").write_bytes(b"rubbish")
    own = sites / "clients" / "client-1" / "site.toml"
    own.write_text(own.read_text() + 'broken = "skip"\n')
    findings = {f.what: f for f in check(sites / "clients" / "client-1", offline=True)}
    words = "images: 39 items in 1 tasks; left out: 1 cannot be used: "
    assert findings["site"].ok and findings["site"].words.startswith(words)
    assert "cat/3.png: cannot be read" in findings["site"].words


def test_a_class_that_was_not_agreed_on_is_told(sites: Path, tmp_path: Path):
    (tmp_path / "pictures" / "dog").rename(tmp_path / "pictures" / "wolf")
    (finding,) = (f for f in check(sites / "clients" / "client-1", offline=True) if not f.ok)
    assert finding.what == "site" and "'wolf'" in finding.words


def test_flower_of_another_release_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness, "FLOWER", "0.9")
    with pytest.raises(UserError, match=r"flwr: must be of release 0\.9, found 1\."):
        readiness.versions()


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch):
    def version(package: str) -> str:
        if package == "flwr":
            raise readiness.metadata.PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(readiness.metadata, "version", version)
    with pytest.raises(UserError, match=r'flwr: must be installed; pip install "fedbridge\[flower'):
        readiness.versions()


def test_a_config_for_other_clients_is_refused(tmp_path: Path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG, encoding="utf-8")
    with pytest.raises(UserError, match=r"of the deployment, a, b; found client-1, client-2"):
        common_files(path, ("a", "b"))


def test_what_is_agreed_on_encodes_nothing(common: dict[str, str], tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_text(common["config.toml"], encoding="utf-8")
    said, names = agreement(load_config(path))
    assert names == NAMES
    assert vars(said) == json.loads(common["agreed.json"])
    assert not (Path(os.environ["FEDBRIDGE_CACHE"]) / "embeddings").exists()


def test_without_a_large_side_no_model_is_loaded(tmp_path: Path):
    path = tmp_path / "tiny.toml"
    large = '[large]\nhead = "none"\nmodel = "onnx:/no/where.onnx"\n'
    path.write_text(CONFIG + large + '[learner]\nname = "replay"\n', encoding="utf-8")
    said, _ = agreement(load_config(path))
    assert (said.foundation, said.fingerprint) == ("", "")
