"""Small models, foundation models, and what joins them. Importing this loads no torch."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from fedbridge.core.errors import UserError

if TYPE_CHECKING:
    from torch import nn

Modality = Literal["image", "text"]


@dataclass(frozen=True)
class SmallEntry:
    """A kind of small model: what it reads, what it is, and ``MODULE:FUNCTION`` to build it."""

    modality: Modality
    summary: str
    builder: str


@dataclass(frozen=True)
class FoundationEntry:
    """A foundation model: what it reads, what it is, and ``MODULE:FUNCTION`` to load it.

    ``module`` is another such function, which gives it as a module where it can be tuned.
    ``licence`` is that of its weights.
    """

    modality: Modality
    summary: str
    loader: str
    module: str | None = None
    licence: str = "as its owner says"


@dataclass(frozen=True)
class Source:
    """Where one's own models may come from: how a config writes it, and what loads it."""

    form: str
    reads: str
    summary: str
    loader: str


SMALL_MODELS: dict[str, SmallEntry] = {
    "cnn": SmallEntry("image", "three convolutions with pooling", "small.image:cnn"),
    "cnn-wide": SmallEntry("image", "cnn with wider layers", "small.image:cnn_wide"),
    "resnet": SmallEntry("image", "two residual blocks", "small.image:resnet"),
    "mobile": SmallEntry("image", "depthwise separable", "small.image:mobile"),
    "mixer": SmallEntry("image", "MLP-Mixer on a conv stem", "small.image:mixer"),
    "vit": SmallEntry("image", "ViT on a conv stem (transformers)", "small.image:vit"),
    "mlp": SmallEntry("image", "two fully connected layers", "small.image:mlp"),
    "bag": SmallEntry("text", "weighted bag of tokens", "small.text:Bag"),
    "textcnn": SmallEntry("text", "convolutions over tokens", "small.text:TextCNN"),
    "gru": SmallEntry("text", "recurrent units", "small.text:GRU"),
    "tiny-bert": SmallEntry("text", "BERT (transformers)", "small.text:TinyBert"),
}

FOUNDATION_MODELS: dict[str, FoundationEntry] = {
    "lite0": FoundationEntry(
        "image",
        "EfficientNet-Lite0, ImageNet-1k, 1280-d",
        "fm.pretrained:lite0",
        licence="Apache-2.0",
    ),
    "minilm": FoundationEntry(
        "text",
        "all-MiniLM-L6-v2, 384-d",
        "fm.transformer:minilm",
        "fm.transformer:minilm_module",
        licence="MIT",
    ),
    "focus": FoundationEntry(
        "image",
        "ViT-S/14 (DINOv2) tuned for saliency, 768-d",
        "fm.focus:focus",
        "fm.focus:focus_module",
        licence="MIT",
    ),
    "ppocr": FoundationEntry(
        "image",
        "PP-OCRv4, reads characters, 1440-d",
        "fm.ocr:ppocr",
        licence="Apache-2.0",
    ),
    "patches": FoundationEntry(
        "image",
        "stand-in, not pretrained: 512-d",
        "fm.foundation:patches",
        licence="Apache-2.0, part of fedbridge",
    ),
}

FOUNDATION_SOURCES: dict[str, Source] = {
    "transformers": Source(
        "transformers:DIR-OR-NAME",
        "image or text",
        "any encoder of transformers, with its weights",
        "fm.transformer:from_transformers",
    ),
    "sentence-transformers": Source(
        "sentence-transformers:DIR-OR-NAME",
        "text",
        "with its own pooling and prompts",
        "fm.sentences:from_sentence_transformers",
    ),
    "timm": Source(
        "timm:DIR-OR-NAME",
        "image",
        "any model of timm, with its weights",
        "small.timm_models:from_timm",
    ),
    "onnx": Source(
        "onnx:FILE",
        "image or text",
        "a graph, its tokenizer.json beside it",
        "fm.onnx:from_onnx",
    ),
    "callable": Source(
        "callable:MODULE:FUNCTION",
        "image or text",
        "a function to (B, D)",
        "small.own:from_callable",
    ),
}
"""Where one's own FM may come from, and how that is written in the config."""

SMALL_SOURCES: dict[str, Source] = {
    "transformers": Source(
        "transformers:TYPE-OR-DIR",
        "image or text",
        "an architecture of transformers, new weights",
        "small.transformers_small:from_config",
    ),
    "transformers-pretrained": Source(
        "transformers-pretrained:DIR-OR-NAME",
        "image or text",
        "a model of transformers, with its weights",
        "small.transformers_small:from_pretrained",
    ),
    "timm": Source(
        "timm:NAME",
        "image",
        "an architecture of timm, new weights",
        "small.timm_models:fresh",
    ),
    "timm-pretrained": Source(
        "timm-pretrained:DIR-OR-NAME",
        "image",
        "a model of timm, with its weights",
        "small.timm_models:further",
    ),
}
"""Where one's own small model may come from besides ``MODULE:FUNCTION``."""

OWN = Source(
    "MODULE:FUNCTION",
    "image or text",
    "a function from the inputs' shape to a module",
    "small.own:backbone",
)
"""How a config names a small model that is a function of one's own."""


def resolve(path: str) -> Callable[..., Any]:
    """Return the function that ``MODULE:FUNCTION`` names, a module of this room."""
    module, _, function = path.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return found


def import_extra(module: str, extra: str, wanted_by: str) -> ModuleType:
    """Import an optional package; raise UserError that names the extra which brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"{wanted_by} needs the package {module!r}, which cannot be imported ({error}); "
            f'install it with: pip install "fedbridge[{extra}]"'
        ) from error


def build_backbone(name: str, input_shape: tuple[int, ...]) -> "nn.Module":
    """Build a small model without its projector, for inputs of ``(C, S, S)`` or ``(L,)``.

    ``name`` is as in ``small.models``. The module's ``features`` is the width F of what it
    returns. Weights come from torch's current generator. Raises UserError if there is no such
    model, it cannot be used, or the inputs are of another kind.
    """
    entry = SMALL_MODELS.get(name)
    if entry is not None:
        _check_inputs(name, entry, input_shape)
        model: nn.Module = resolve(entry.builder)(input_shape)
        return model
    source, _, where = name.partition(":")
    if not where:
        forms = ", ".join(entry.form for entry in (*SMALL_SOURCES.values(), OWN))
        raise UserError(
            f"small.models: unknown model {name!r}, known: {', '.join(SMALL_MODELS)}; or one's "
            f"own: {forms}"
        )
    if source in SMALL_SOURCES:
        brought: nn.Module = resolve(SMALL_SOURCES[source].loader)(where, input_shape)
        return brought
    own: nn.Module = resolve(OWN.loader)(name, input_shape)
    return own


def _check_inputs(name: str, entry: SmallEntry, shape: tuple[int, ...]) -> None:
    modality = "image" if len(shape) == 3 else "text"
    if entry.modality != modality:
        fitting = ", ".join(key for key, e in SMALL_MODELS.items() if e.modality == modality)
        raise UserError(
            f"small.models: {name!r} reads {entry.modality}, but the data are {modality}; "
            f"known for {modality}: {fitting}"
        )
    _check_shape(name, shape)


def _check_shape(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) == 3 and (shape[0] not in (1, 3) or shape[1:] not in ((16, 16), (32, 32))):
        raise UserError(
            f"small.models: {name!r} reads pictures of 1 or 3 channels and 16 or 32 pixels a "
            f"side, found shape {shape}"
        )
