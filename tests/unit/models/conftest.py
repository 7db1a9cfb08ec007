"""Stand-ins for files that would be downloaded: small networks in the same layout."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fedbridge.models.fm import focus, ocr


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Put stand-ins in the place of what ``ppocr`` and ``focus`` get out of their packages."""
    folder = tmp_path_factory.mktemp("packages")
    paths = {"ppocr": folder / "ocr.onnx", "focus": folder / "focus.onnx"}
    onnx.save(reader(), paths["ppocr"])
    onnx.save(saliency(), paths["focus"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDBRIDGE_CACHE", str(folder / "cache"))
        patch.setattr(ocr, "packaged_file", lambda *pinned: paths["ppocr"])
        patch.setattr(focus, "packaged_file", lambda *pinned: paths["focus"])
        patch.setattr(focus, "CONFIG", SMALL_VIT)
        patch.setattr(focus, "SUMMARISED", 1)
        yield paths


def noise(*shape: int) -> np.ndarray:
    draw = np.random.default_rng(sum(shape))
    return (draw.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def reader() -> onnx.ModelProto:
    """Lines ``(B, 3, 48, 96)`` -> 12 places of 120 features -> their 7 characters."""
    nodes = [
        helper.make_node("Conv", [ocr.INPUT, "filters"], ["places"], strides=[48, 8]),
        helper.make_node("Squeeze", ["places", "axis"], ["rows"]),
        helper.make_node("Transpose", ["rows"], [ocr.FEATURES], perm=[0, 2, 1]),
        helper.make_node("MatMul", [ocr.FEATURES, "last"], ["characters"]),
    ]
    weights = {"filters": noise(120, 3, 48, 8), "last": noise(120, 7), "axis": np.array([2])}
    graph = helper.make_graph(
        nodes,
        "reader",
        [helper.make_tensor_value_info(ocr.INPUT, TensorProto.FLOAT, ["B", 3, 48, 96])],
        [helper.make_tensor_value_info("characters", TensorProto.FLOAT, ["B", 12, 7])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


LAYERS = 2
SMALL_VIT = {
    **focus.CONFIG,
    "num_hidden_layers": LAYERS,
    "mlp_ratio": 1,
    "image_size": 3 * focus.PATCH,
}


def saliency() -> onnx.ModelProto:
    """The weights of a two-block ViT as the exporter leaves them; the graph computes nothing."""
    width, patch = focus.WIDTH, focus.PATCH
    arrays = {
        "backbone.embeddings.cls_token": noise(1, 1, width),
        "backbone.embeddings.patch_embeddings.projection.weight": noise(width, 3, patch, patch),
        "backbone.embeddings.patch_embeddings.projection.bias": noise(width),
        "backbone.layernorm.weight": noise(width),
        "backbone.layernorm.bias": noise(width),
        "decoder.final_conv.bias": noise(1),
        "onnx::Reshape_1": noise(1, 9, width),
        "onnx::Concat_2": noise(1, 1, width),
    }
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"], name="/backbone/scores/MatMul")]
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for norm in ("norm1", "norm2"):
            arrays |= {f"backbone.{at}.{norm}.{w}": noise(width) for w in ("weight", "bias")}
        for scale in ("layer_scale1", "layer_scale2"):
            arrays[f"backbone.{at}.{scale}.lambda1"] = noise(width)
        attention = [f"attention.attention.{w}" for w in ("query", "key", "value")]
        for place in (*attention, "attention.output.dense", "mlp.fc1", "mlp.fc2"):
            matrix = f"onnx::MatMul_{len(nodes)}"
            arrays |= {f"backbone.{at}.{place}.bias": noise(width), matrix: noise(width, width)}
            name = f"/backbone/encoder/layer.{layer}/{place.replace('.', '/')}/MatMul"
            nodes.append(helper.make_node("MatMul", ["x", matrix], ["y"], name=name))
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_model(helper.make_graph(nodes, "saliency", [], [], tensors))
