"""Models of ``timm``: frozen as foundation models, or small ones to be trained."""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.models import import_extra
from fedbridge.models.fm.foundation import ImageModel, fingerprint, state_hash
from fedbridge.models.fm.hub import folder_of

SMALL = "small.models"


class Pictures(nn.Module):
    """A model of timm without its classifier, with its normalisation before it."""

    def __init__(self, model: nn.Module, mean: Any, deviation: Any, white: float) -> None:
        super().__init__()
        self.model = model
        shift, scale = (white * torch.tensor(v).view(1, -1, 1, 1) for v in (mean, deviation))
        self.shift, self.scale = (nn.Buffer(v, persistent=False) for v in (shift, scale))
        self.features = 0  # not known before a picture has gone through

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(B, C, S, S)`` from 0 to white to ``(B, features)``."""
        features: Tensor = self.model((pictures - self.shift) / self.scale)
        return features

    def tried(self, shape: tuple[int, ...]) -> "Pictures":
        """Return the model, which then knows how wide its features are."""
        with torch.no_grad():
            self.features = int(self.eval()(torch.zeros(1, *shape)).shape[1])
        return self


def from_timm(where: str, size: int | None, device: torch.device, precision: str) -> ImageModel:
    """Load a folder, a name of timm or one on the hub; only safetensors are read.

    Embeddings are what timm pools for its classifier. Without a size pictures are brought to the
    side that the model was made for. Raises UserError if it is missing, damaged or unsuitable.
    """
    name = f"timm:{where}"
    library = _library(name, "large.model")
    with foreign_errors(name):
        model = _made(library, _weights(library, where, name, "large.model"), True, img_size=size)
        settings = library.data.resolve_model_data_config(model)
        side = size or int(settings["input_size"][-1])
        white = Pictures(model, settings["mean"], settings["std"], 255.0).tried((3, side, side))
    about: dict[str, object] = {"model": "timm", "size": side, "precision": precision}
    norm = [list(settings["mean"]), list(settings["std"])]
    mark = fingerprint({**about, "normalisation": norm}, state_hash(model))
    return ImageModel(name, white.features, mark, white.to(device), side, device, precision)


def fresh(where: str, shape: tuple[int, ...]) -> Pictures:
    """Return an architecture of timm with new weights, for pictures ``(C, S, S)`` in [0, 1]."""
    return _small(f"timm:{where}", where, shape)


def further(where: str, shape: tuple[int, ...]) -> Pictures:
    """Return the same with the weights of a folder, a name of timm or one on the hub."""
    return _small(f"timm-pretrained:{where}", where, shape, weights=True)


def _small(name: str, where: str, shape: tuple[int, ...], weights: bool = False) -> Pictures:
    library = _library(name, SMALL)
    if len(shape) != 3:
        raise UserError(f"{SMALL}: {name} reads pictures, but the data are texts")
    if not weights and not library.is_model(where.partition(".")[0]):
        raise UserError(f"{SMALL}: {name}: timm has no such model; see timm.list_models()")
    with foreign_errors(name, SMALL):
        place = _weights(library, where, name, SMALL) if weights else where
        model = _made(library, place, weights, in_chans=shape[0], img_size=shape[1])
        settings = library.data.resolve_model_data_config(model)
        mean, deviation = (settings["mean"], settings["std"]) if weights else ((0.5,), (0.5,))
        if len(mean) != shape[0]:  # timm has summed the filters of the three colours
            mean, deviation = ([sum(v) / len(v)] for v in (mean, deviation))
        return Pictures(model, mean, deviation, 1.0).tried(shape).train()


def _library(name: str, field: str) -> ModuleType:
    return import_extra("timm", "timm", f"{field} {name!r}")


def _weights(library: ModuleType, where: str, name: str, field: str) -> str:
    """Return a folder with weights as timm reads it; raise UserError if there is none."""
    if not Path(where).is_dir() and library.is_model(where.partition(".")[0]):
        known = library.get_pretrained_cfg(where)
        if known is None or not known.hf_hub_id:
            raise UserError(f"{field}: {name}: timm has no weights of that name on the hub")
        where = known.hf_hub_id
    folder = folder_of(where, name, field)
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise UserError(f"{field}: {name}: {folder} must hold {file}, as timm writes it")
    return f"local-dir:{folder}"


def _made(library: ModuleType, place: str, weights: bool, **options: Any) -> nn.Module:
    """Return a model without classifier; one that reads any size knows no ``img_size``."""

    def make(**options: Any) -> nn.Module:
        if not weights:
            return library.create_model(place, num_classes=0, **options)  # type: ignore[no-any-return]
        # timm asks that weights be complete only if the classifier is among them
        with torch.random.fork_rng(devices=[]):
            model = library.create_model(place, pretrained=True, **options)
        model.reset_classifier(0)
        return model  # type: ignore[no-any-return]

    try:
        return make(**options).eval()
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return make(**{k: v for k, v in options.items() if k != "img_size"}).eval()
