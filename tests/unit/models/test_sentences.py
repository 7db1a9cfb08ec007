"""Models of sentence-transformers: their own pooling, and nothing of theirs is executed."""

import json
import sys
from pathlib import Path

import pytest
import torch

from brought import save_sentences
from fedbridge.core.errors import UserError
from fedbridge.models.fm.foundation import load_foundation

TEXTS = ["red apple", "pear", ""]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(save_sentences(tmp_path).partition(":")[2])


def load(folder: Path):
    return load_foundation(f"sentence-transformers:{folder}", 96, torch.device("cpu"), "float32")


def test_embeddings_are_those_of_the_package(folder: Path):
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    torch.testing.assert_close(load(folder).encode(TEXTS), expected.clone(), rtol=1e-4, atol=1e-5)


def test_another_pooling_is_another_model(folder: Path):
    before = load(folder).fingerprint
    path = folder / "1_Pooling" / "config.json"
    path.write_text(path.read_text().replace('"cls"', '"mean"'))
    assert load(folder).fingerprint != before


def test_code_beside_a_model_is_not_executed(folder: Path, tmp_path: Path):
    marker = tmp_path / "executed"
    code = f"open({str(marker)!r}, 'w')\nclass Own: pass\n"
    (folder / "own_part.py").write_text(code)
    parts = json.loads((folder / "modules.json").read_text())
    parts[1]["type"] = "own_part.Own"
    (folder / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(UserError, match=r"sentence-transformers:.* cannot be used: "):
        load(folder)
    assert not marker.exists()


def test_pickles_are_refused(folder: Path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"weights must be model.safetensors, found .*model\.bin"):
        load(folder)


def test_a_missing_package_or_folder_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match="there is no such folder"):
        load(folder / "nowhere")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install \"fedbridge\[sentence-transformers\]\""):
        load(folder)
