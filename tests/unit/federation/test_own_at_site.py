"""What a common config may not make a site load, and how a site says where its models lie."""

import sys
from pathlib import Path

import pytest
import tomli_w

from brought import save_graph
from fedbridge.config import load_site
from fedbridge.core.errors import CommonConfigError, UserError
from fedbridge.federation.agreement import agreement
from fedbridge.federation.handshake import differences
from fedbridge.federation.site import at_site, site_client, small_at_site
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from sites import common, site_file, task

OWN = """
from pathlib import Path
from torch import nn

Path(__file__).with_suffix(".imported").touch()


def tiny(shape):
    net = nn.Sequential(nn.Flatten(), nn.Linear(768, 16))
    net.features = 16
    return net


def encode(pictures):
    return pictures.mean((2, 3))
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "installed")  # restores sys.path as well


@pytest.fixture
def north(tmp_path) -> Path:
    """A site with pictures, and with a module beside its file."""
    task(tmp_path / "north" / "p" / "a", ["cat", "dog"])
    task(tmp_path / "north" / "p" / "b", ["eel", "fox"])
    return site_file(tmp_path / "north", kind="images", path="p", layout="task/class/file")


def with_own(path: Path, **models: str) -> Path:
    more = {side: {"model": model} for side, model in models.items()}
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" + tomli_w.dumps(more))
    return path


@pytest.mark.parametrize("source", ["callable:{m}:encode", "onnx:{f}/g.onnx", "transformers:{f}",
                                    "sentence-transformers:{f}", "timm:{f}", "transformers:a/b",
                                    "callable:os:system"])  # fmt: skip
def test_a_common_config_cannot_name_a_foundation_model_of_a_site(tmp_path, north, source):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "at_site_a.py").write_text(OWN)
    model = source.format(m="at_site_a", f=tmp_path / "installed")
    config = common(large={"model": model})
    for site in (north, None):
        with pytest.raises(UserError) as caught:
            at_site(config, site)
        assert str(caught.value).startswith(
            f"large.model: a common config must not name what lies at a site, found {model!r}"
        )
    with pytest.raises(UserError, match=r"large.model: a common config must not name"):
        site_client(config, "north", north)
    assert not (tmp_path / "installed" / "at_site_a.imported").exists()


@pytest.mark.parametrize("source", ["{m}:tiny", "transformers:{f}", "timm-pretrained:{f}"])
def test_a_common_config_cannot_name_a_small_model_of_a_site(tmp_path, north, source):
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "at_site_b.py").write_text(OWN)
    model = source.format(m="at_site_b", f=tmp_path / "installed")
    config = common(small={"models": [model, "mlp"]})
    with pytest.raises(UserError, match=r"small.models: a common config must not name what lies"):
        site_client(config, "north", north)
    assert not (tmp_path / "installed" / "at_site_b.imported").exists()
    assert small_at_site(config, "south", None) == "mlp"  # nobody builds another client's model


@pytest.mark.parametrize(
    ("section", "key"), [("data", "name"), ("data", "public"), ("scenario", "kind")]
)
def test_a_common_config_cannot_have_a_site_import_a_module(tmp_path, north, section, key):
    (tmp_path / "at_site_data.py").write_text(OWN)  # even if it lies in the site's own folder
    tree = {"scenario": {"clients": 2}, section: {key: "at_site_data:tiny"}}
    tree["scenario"]["clients"] = 2
    if key == "public":
        tree["data"]["public_items"] = 8
    config = parse_config(tree, "test")
    rule = rf"{section}.{key}: a common config must not name a module, .* found 'at_site_data:ti"
    for refuse in (
        lambda: at_site(config, north),
        lambda: site_client(config, "north", north),
        lambda: small_at_site(config, "client-1", None),
    ):
        with pytest.raises(CommonConfigError, match=rule):
            refuse()
    assert "at_site_data" not in sys.modules


def test_a_share_of_built_in_data_is_no_way_around_it():
    tree = {"scenario": {"clients": 2}, "small": {"models": ["os:system"]}}
    with pytest.raises(UserError, match=r"small.models: a common config must not name"):
        site_client(parse_config(tree, "test"), "client-1")


def test_without_a_large_side_nothing_is_refused(north):
    config = common(large={"model": "callable:os:system", "head": "none"})
    assert at_site(config, north) is config


def test_a_site_says_itself_where_its_models_lie(tmp_path, north):
    (north.parent / "at_site_c.py").write_text(OWN)
    save_graph(north.parent / "g.onnx")
    with_own(north, large="onnx:g.onnx", small="at_site_c:tiny")
    config = common(
        large={"model": "onnx:/at/the/server.onnx"}, small={"models": ["theirs:tiny", "mlp"]}
    )
    client = site_client(config, "north", north)
    assert client.model.backbone.features == 16
    assert client.shared.public_features.shape == (24, 5)
    assert client.shared.config.small == config.small


def test_the_same_model_at_another_place_is_agreed_on_and_another_is_not(tmp_path, north):
    server = common(large={"model": save_graph(tmp_path / "server.onnx")})
    theirs = common(large={"model": "onnx:/where/the/server/has/it.onnx"})
    save_graph(north.parent / "g.onnx")
    here = at_site(theirs, with_own(north, large="onnx:g.onnx"))
    assert differences(agreement(server)[0], agreement(here)[0]) == []
    save_graph(north.parent / "g.onnx", side=16)
    agreement.cache_clear()
    (found,) = differences(agreement(server)[0], agreement(here)[0])
    assert found.startswith("the foundation model differs: here onnx, sha256")
    assert str(north.parent) not in repr(vars(agreement(here)[0]))


def own_of(folder: Path, **models: str) -> tuple[str | None, str | None]:
    folder.mkdir(exist_ok=True)
    site = load_site(with_own(site_file(folder, kind="images", path="p"), **models))
    return site.large.model, site.small.model


def test_paths_of_models_count_from_the_sites_file(tmp_path):
    here = tmp_path / "s"
    (here / "vit").mkdir(parents=True)
    assert own_of(here, large="onnx:m/g.onnx") == (f"onnx:{here}/m/g.onnx", None)
    assert own_of(here, large="transformers:vit") == (f"transformers:{here}/vit", None)
    assert own_of(here, large="transformers:./no") == (f"transformers:{here}/no", None)
    assert own_of(here, large="timm:/m/v", small="timm:r") == ("timm:/m/v", "timm:r")
    assert own_of(here, large="transformers:a/b", small="my:f") == ("transformers:a/b", "my:f")
    assert own_of(here, large="callable:my:f", small="cnn") == ("callable:my:f", "cnn")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("onnx:../g.onnx", "large.model: must lie in the folder of this file"),
        ("onnx:g.pkl", "large.model: must not end with .pkl: nothing is unpickled"),
        ("transformers:./../vit", "large.model: must lie in the folder of this file"),
    ],
)
def test_places_of_models_are_as_safe_as_those_of_data(tmp_path, model, words):
    with pytest.raises(UserError, match=words):
        own_of(tmp_path, large=model)


def test_the_server_needs_no_permission():
    config: Config = common(small={"models": ["transformers:resnet", "mlp"]})
    assert agreement(config)[0].foundation == "patches"
