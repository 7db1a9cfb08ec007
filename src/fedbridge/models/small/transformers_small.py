"""Small models of ``transformers``: any of its architectures, with new weights or with its own."""

import copy
import inspect
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.core.tokens import LENGTH, VOCABULARY
from fedbridge.models import import_extra
from fedbridge.models.fm.hub import at_hand
from fedbridge.models.fm.transformer import normalisation, pretrained, processor
from fedbridge.models.small import image, text

FIELD = "small.models"
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "embed_dim": 32,
    "embedding_size": 32,
    "hidden_sizes": [32, 64],
    "depths": [1, 1],
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_heads": [2, 4],
    "intermediate_size": 128,
    "hidden_dim": 128,
    "window_size": 2,
}
"""Widths and depths of a small model, by the names that configs of transformers give them."""


class Viewer(nn.Module):
    """A vision model that reads ``(B, C, S, S)`` in [0, 1], and the readout of all small models."""

    def __init__(
        self, model: Any, shape: tuple[int, ...], norm: tuple[list[float], list[float]]
    ) -> None:
        super().__init__()
        self.features = image.FEATURES
        self.model = model
        self.channels = getattr(model.config, "num_channels", shape[0])
        self.options: dict[str, bool] = {}
        if "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
            self.options["interpolate_pos_encoding"] = True
        shift, scale = (torch.tensor(v).view(1, -1, 1, 1) for v in norm)
        self.shift, self.scale = (nn.Buffer(v, persistent=False) for v in (shift, scale))
        with torch.no_grad():
            width, places = self.eval().places(torch.zeros(1, *shape)).shape[1:]
        self.readout = image.readout(width, places)

    def places(self, images: Tensor) -> Tensor:
        """Map ``(B, C, S, S)`` to what the model says of each place, ``(B, D, places)``."""
        pixels = (images.expand(-1, self.channels, -1, -1) - self.shift) / self.scale
        states: Tensor = self.model(pixel_values=pixels, **self.options).last_hidden_state
        return states.flatten(2) if states.ndim == 4 else states.transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(B, C, S, S)`` to ``(B, F)``."""
        features: Tensor = self.readout(self.places(images))
        return features


class HashedTextModel(nn.Module):
    """A language model that reads hashed token ids ``(B, L)``, 0 = padding."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.features = text.FEATURES
        self.model = model
        # the ids are fedbridge's own, whatever table the model has come with
        model.set_input_embeddings(text.embedding(model.get_input_embeddings().embedding_dim))
        with torch.no_grad():
            width = self.eval().states(torch.ones(1, LENGTH, dtype=torch.long)).shape[2]
        self.readout = text.readout(width)

    def states(self, ids: Tensor) -> Tensor:
        """Map ``(B, L)`` to ``(B, L, D)``."""
        states: Tensor = self.model(input_ids=ids, attention_mask=(ids != 0).long())[0]
        return states

    def forward(self, ids: Tensor) -> Tensor:
        """Map ``(B, L)`` to ``(B, F)``: the mean state over a text's tokens."""
        ids = text.trimmed(ids)
        features: Tensor = self.readout(text.masked_mean(self.states(ids), ids != 0))
        return features


def from_config(where: str, shape: tuple[int, ...]) -> nn.Module:
    """Return the architecture of a folder's ``config.json``, or of a model type, with new weights.

    A type such as ``resnet`` or ``bert`` gets small sizes; a folder keeps its own. Raises UserError
    if there is neither, or it cannot read inputs of this shape.
    """
    name = f"transformers:{where}"
    library = import_extra("transformers", "transformers", f"{FIELD} {name!r}")
    with foreign_errors(name, FIELD):
        config = _config(library, where, name, shape)
        library.logging.set_verbosity_error()  # it remarks on special tokens, which are not used
        model = library.AutoModel.from_config(config, trust_remote_code=False)
        return _wrapped(name, model, shape, ([0.5], [0.5]))


def from_pretrained(where: str, shape: tuple[int, ...]) -> nn.Module:
    """Return the model of a folder or hub name with its weights; only safetensors are read.

    Of a language model the table of tokens is new, since small models read hashed words. Raises
    UserError if it is missing, damaged or cannot read inputs of this shape.
    """
    name = f"transformers-pretrained:{where}"
    library = import_extra("transformers", "transformers", f"{FIELD} {name!r}")
    folder = at_hand(where, name, FIELD)
    with foreign_errors(name, FIELD):
        return _wrapped(name, copy.deepcopy(_trained(folder)), shape, _norm(library, folder))


@lru_cache(maxsize=2)
def _trained(folder: str) -> Any:
    """Return a model with its weights, read once by a process that builds it again and again."""
    library = import_extra("transformers", "transformers", FIELD)
    config = library.AutoConfig.from_pretrained(
        folder, local_files_only=Path(folder).is_dir(), trust_remote_code=False
    )
    return pretrained(library, folder, _without_dropout(config), FIELD)


def _norm(library: ModuleType, folder: str) -> tuple[list[float], list[float]]:
    return normalisation(processor(library, folder))


def _wrapped(
    name: str, model: Any, shape: tuple[int, ...], norm: tuple[list[float], list[float]]
) -> nn.Module:
    """Return a model of transformers as a small model, without its unused pooler."""
    kinds = ("image", "text")
    reads = kinds[model.main_input_name != "pixel_values"]
    if reads != kinds[len(shape) != 3]:
        raise UserError(f"{FIELD}: {name} reads {reads}, but the data are {kinds[len(shape) != 3]}")
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        model.pooler = None
    wrapped = Viewer(model, shape, norm) if reads == "image" else HashedTextModel(model)
    return wrapped.train()


def _config(library: ModuleType, where: str, name: str, shape: tuple[int, ...]) -> Any:
    """Return a config whose inputs are of this shape."""
    if where in library.CONFIG_MAPPING:
        plain = library.AutoConfig.for_model(where)
        return _without_dropout(library.AutoConfig.for_model(where, **_sizes(plain, shape)))
    if not (Path(where) / "config.json").is_file():
        raise UserError(
            f"{FIELD}: {name} must be a type of transformers, such as resnet, vit or bert, or a "
            f"folder with config.json; for a model with its weights write "
            f"transformers-pretrained:{where}"
        )
    config = library.AutoConfig.from_pretrained(
        where, local_files_only=True, trust_remote_code=False
    )
    for key, value in _inputs(config, shape).items():
        setattr(config, key, value)
    return _without_dropout(config)


def _sizes(plain: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return those of SIZES that a type's config knows, as a number or one for each stage."""
    known = {k: (getattr(plain, k, None), v) for k, v in SIZES.items()}
    sizes = {k: v for k, (old, v) in known.items() if _kind(old) == _kind(v)}
    if getattr(plain, "layer_type", None) == "bottleneck":
        sizes["layer_type"] = "basic"
    if len(shape) == 3 and isinstance(getattr(plain, "patch_size", None), int):
        sizes["patch_size"] = shape[1] // 8
    return sizes | _inputs(plain, shape)


def _kind(value: Any) -> type:
    return list if isinstance(value, tuple) else type(value)


def _inputs(config: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the settings of a config that follow from what is to be read."""
    if len(shape) == 3:
        wanted = {"num_channels": shape[0], "image_size": shape[1]}
    else:
        wanted = {
            "vocab_size": VOCABULARY,
            "max_position_embeddings": LENGTH + 2,  # some keep the first two places free
            "pad_token_id": 0,
            "use_cache": False,
        }
    return {key: value for key, value in wanted.items() if hasattr(config, key)}


def _without_dropout(config: Any) -> Any:
    """Switch off all that a model would draw at random, which no seed of a run governs."""
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
    return config
