"""What somebody else has saved imports no module here, unless it is allowed by name."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fedbridge
from fedbridge.cli.main import app
from fedbridge.core.errors import UserError
from fedbridge.core.saved import digests
from fedbridge.inference import load_predictor
from fedbridge.inference.export import export
from fedbridge.inference.export.hub import HubClassifier
from fedbridge.inference.restore import predictor_at
from predictors import classifier, pictures, predictor

MODULE = """
import math
from pathlib import Path
from torch import nn

Path(__file__).with_name("it-ran").touch()


def tiny(shape):
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 8))
    net.features = 8
    return net


def encode(pictures):
    return nn.functional.avg_pool2d(pictures, 4).flatten(1)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Be in a folder in which lies a module of somebody else, which has not been imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "strange.py").write_text(MODULE, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("strange", None)


def small(here: Path) -> str:
    from dataclasses import replace

    one = replace(predictor(large=False), small=classifier("strange:tiny"))
    one.save(here / "saved")
    export(one, here / "exported", "safetensors")
    return "strange:tiny"


def large(here: Path) -> str:
    predictor().save(here / "saved")
    path = here / "saved" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["about"]["large"]["settings"]["model"] = "callable:strange:encode"
    path.write_text(json.dumps(manifest | {"files": digests(here / "saved")}))
    return "callable:strange:encode"


def forget(here: Path) -> None:
    sys.modules.pop("strange", None)
    (here / "it-ran").unlink(missing_ok=True)


READERS: dict[str, Callable[..., Any]] = {
    "load_predictor": load_predictor,
    "load": fedbridge.load,
    "predictor_at": predictor_at,
}


@pytest.mark.parametrize("kind", [small, large])
@pytest.mark.parametrize("reader", READERS)
def test_a_function_must_be_trusted_by_name(reader: str, kind: Callable[[Path], str], here: Path):
    name, read = kind(here), READERS[reader]
    forget(here)
    for trust in ((), ["strange:other", "strange"], "strange:tiny2", [name.upper()]):
        with pytest.raises(UserError) as error:
            read(here / "saved", trust=trust)
        said = str(error.value)
        assert f"trust=['{name}']" in said and f"--trust {name} on" in said
        assert "manifest.json: names" in said
    assert not (here / "it-ran").exists() and "strange" not in sys.modules
    for trust in ([name], (name, "other:one"), name):
        assert read(here / "saved", trust=trust).classes == ("ant", "bee", "cat")


def test_what_is_no_function_needs_no_trust(tmp_path: Path):
    predictor().save(tmp_path / "saved")
    assert load_predictor(tmp_path / "saved").usable[-1] == "together"


@pytest.mark.parametrize("module", ["onnx", "callable", "sentence-transformers", "os"])
def test_a_small_model_with_a_modules_name_before_its_colon_is_a_function(
    module: str, tmp_path: Path
):
    predictor(large=False).save(tmp_path / "saved")
    path = tmp_path / "saved" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["about"]["small"]["model"] = f"{module}:system"
    path.write_text(json.dumps(manifest | {"files": digests(tmp_path / "saved")}))
    with pytest.raises(UserError, match=f"trust=.'{module}:system'."):
        load_predictor(tmp_path / "saved")


def test_a_saved_client_is_looked_at_too(here: Path):
    client = fedbridge.Client(
        "strange:tiny", ["dark", "light"], data={"size": 16, "public_items": 4, "modality": "image"}
    )
    x = np.concatenate([pictures(6) // 4, pictures(6) // 4 + 150])
    client.learn(x, ["dark"] * 6 + ["light"] * 6)
    client.save(here / "client")
    forget(here)
    with pytest.raises(UserError, match=r"trust=\['strange:tiny'\]"):
        fedbridge.load(here / "client")
    assert not (here / "it-ran").exists()
    again = fedbridge.load(here / "client", trust=["strange:tiny"])
    assert again.predict(x) == client.predict(x)


def test_what_was_exported_cannot_trust_itself(here: Path):
    name = small(here)
    path = here / "exported" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trust": [name]}))
    forget(here)
    with pytest.raises(UserError, match=r"config\.json: names 'strange:tiny'"):
        HubClassifier.from_pretrained(here / "exported")
    assert not (here / "it-ran").exists()
    model = HubClassifier.from_pretrained(here / "exported", trust=[name])
    assert model.predictor().predict(pictures(2))


def test_the_command_line_says_and_takes_what_is_trusted(here: Path):
    name = small(here)
    forget(here)
    np_file = here / "a.png"
    from PIL import Image

    Image.fromarray(pictures(1)[0]).save(np_file)
    refused = CliRunner().invoke(app, ["predict", "saved", "a.png"])
    assert isinstance(refused.exception, UserError | SystemExit)
    assert not (here / "it-ran").exists()
    done = CliRunner().invoke(app, ["predict", "saved", "a.png", "--trust", name])
    assert done.exit_code == 0 and '"predictions"' in done.stdout
    asked = ["export", "saved", "--format", "safetensors", "--out", "out", "--trust", name]
    assert CliRunner().invoke(app, asked).exit_code == 0


def test_terminal_letters_in_a_models_name_do_nothing(tmp_path: Path):
    predictor(large=False).save(tmp_path / "saved")
    path = tmp_path / "saved" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["about"]["small"]["model"] = "\x1b]0;x\x07:f"
    path.write_text(json.dumps(manifest | {"files": digests(tmp_path / "saved")}))
    with pytest.raises(UserError) as error:
        load_predictor(tmp_path / "saved")
    assert str(error.value).isprintable()
