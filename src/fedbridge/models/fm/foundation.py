"""Frozen foundation models (FM): from pictures or texts to embeddings ``(B, D)``."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedbridge.config import Settings
from fedbridge.config.models import SIDE
from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.models import FOUNDATION_MODELS, FOUNDATION_SOURCES, Modality, resolve
from fedbridge.models.device import device_of, precision_of

Items = NDArray[np.uint8] | Sequence[str]
TEXTS_AT_ONCE = 32


def picked(items: Items, rows: NDArray[np.int64]) -> Items:
    """Return some of the items."""
    return items[rows] if isinstance(items, np.ndarray) else [items[row] for row in rows.tolist()]


class FoundationModel(Protocol):
    """What the large side asks of a foundation model."""

    @property
    def name(self) -> str:
        """Return the name by which the config asks for it."""

    @property
    def modality(self) -> Modality | Literal["any"]:
        """Return what it reads."""

    @property
    def dimension(self) -> int | None:
        """Return the dimension D of its embeddings, None where it has to encode something first."""

    @property
    def fingerprint(self) -> str:
        """Return the sha256 of its weights and of all that is done to an item before them."""

    def encode(self, items: Items) -> Tensor:
        """Return float32 embeddings ``(B, D)`` on the CPU.

        Items are uint8 pictures ``(B, C, H, W)`` of 1 or 3 channels and any size, or strings.
        """


@dataclass(frozen=True)
class ImageModel:
    """An FM for pictures around a network from ``(B, 3, size, size)`` in 0..255 to ``(B, D)``."""

    name: str
    dimension: int
    fingerprint: str
    network: Callable[[Tensor], Tensor]
    size: int
    device: torch.device
    precision: str
    modality: Modality = "image"

    @torch.inference_mode()
    def encode(self, items: Items) -> Tensor:
        """Map uint8 ``(B, C, H, W)`` to float32 ``(B, D)``; raises UserError for anything else."""
        pictures = resized(as_pictures(self.name, items), self.size, self.device)
        with foreign_errors(self.name), computing_in(self.precision, self.device):
            return embeddings(self.name, self.network(pictures), len(pictures), self.dimension)


@dataclass(frozen=True)
class TextModel:
    """An FM for texts around a function from strings to ``(B, D)``."""

    name: str
    dimension: int
    fingerprint: str
    network: Callable[[list[str]], Tensor]
    device: torch.device
    precision: str
    modality: Modality = "text"

    @torch.inference_mode()
    def encode(self, items: Items) -> Tensor:
        """Map B strings to float32 ``(B, D)``; raises UserError for anything else."""
        texts = as_texts(self.name, items)
        # short texts are encoded with short ones, so that little of a batch is padding
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        result = torch.empty(len(texts), self.dimension)
        with foreign_errors(self.name), computing_in(self.precision, self.device):
            for start in range(0, len(order), TEXTS_AT_ONCE):
                places = order[start : start + TEXTS_AT_ONCE]
                found = self.network([texts[i] for i in places])
                result[places] = embeddings(self.name, found, len(places), self.dimension)
        return result


def foundation_of(config: Settings) -> FoundationModel:
    """Load the FM that a config asks for; raises as :func:`load_foundation`."""
    large, device = config.large, device_of(config.engine.device)
    return load_foundation(large.model, large.size, device, precision_of(config))


def load_foundation(
    spec: str, size: int | Literal["auto"], device: torch.device, precision: str
) -> FoundationModel:
    """Load an FM by its name in FOUNDATION_MODELS or by ``SOURCE:WHERE``; see ``large.model``.

    ``size`` is the side in pixels to which pictures are resized. Raises UserError if the spec
    is not understood, or what it names is missing or unusable.
    """
    if entry := FOUNDATION_MODELS.get(spec):
        side = SIDE if size == "auto" else size
        model: FoundationModel = resolve(entry.loader)(side, device, precision)
        return model
    source, _, where = spec.partition(":")
    if source not in FOUNDATION_SOURCES or not where:
        raise UserError(
            f"large.model: must be one of {', '.join(FOUNDATION_MODELS)}, or "
            f"{' or '.join(entry.form for entry in FOUNDATION_SOURCES.values())}, found {spec!r}"
        )
    loader = resolve(FOUNDATION_SOURCES[source].loader)
    brought: FoundationModel = loader(where, None if size == "auto" else size, device, precision)
    return brought


@contextlib.contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Let torch compute in float32, bfloat16 or float16 where that does no harm."""
    lower = precision != "float32"
    with torch.autocast(device.type, getattr(torch, precision) if lower else None, enabled=lower):
        yield


def as_pictures(name: str, items: Items) -> Tensor:
    """Return pictures as a tensor; raise UserError unless they are uint8 ``(B, 1 or 3, H, W)``."""
    if not isinstance(items, np.ndarray):
        raise UserError(f"large.model: {name} reads pictures, but the data are texts")
    if items.dtype != np.uint8 or items.ndim != 4 or items.shape[1] not in (1, 3):
        raise UserError(
            f"large.model: {name} reads uint8 pictures (B, C, H, W) with 1 or 3 channels, found "
            f"{items.dtype} {items.shape}"
        )
    return torch.from_numpy(np.array(items))  # a copy, since memory-mapped items are read-only


def as_texts(name: str, items: Items) -> list[str]:
    """Return texts as a list; raise UserError if they are something else."""
    if isinstance(items, np.ndarray):
        raise UserError(f"large.model: {name} reads texts, but the data are pictures")
    return list(items)


def resized(pictures: Tensor, size: int, device: torch.device) -> Tensor:
    """Return ``(B, C, H, W)`` as float32 ``(B, 3, size, size)``, still in 0..255."""
    x = pictures.to(device).float()
    if x.shape[2:] != (size, size):
        x = functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.expand(-1, 3, -1, -1)


def embeddings(name: str, found: Tensor, count: int, dimension: int | None) -> Tensor:
    """Return what an FM found of ``count`` items as float32 ``(B, D)`` on the CPU.

    Raises UserError if it is of another shape, or not finite.
    """
    if found.is_complex() or found.ndim != 2 or not found.shape[1]:
        kind = "complex numbers " if found.is_complex() else ""
        raise UserError(
            f"large.model: {name} must return (B, D) for {count} items, found {kind}"
            f"{tuple(found.shape)}"
        )
    wanted = count, dimension or found.shape[1]
    if found.shape != wanted:
        raise UserError(
            f"large.model: {name} must return {wanted} for {count} items, found "
            f"{tuple(found.shape)}"
        )
    result = found.detach().float().cpu()
    if bad := int((~result.isfinite().all(1)).sum()):
        raise UserError(
            f"large.model: {name} must return finite numbers, found NaN or infinity for {bad} of "
            f"{count} items"
        )
    return result


def fingerprint(settings: dict[str, object], *contents: str) -> str:
    """Return the sha256 of settings and of hashes of content."""
    return hashlib.sha256(json.dumps([settings, contents], sort_keys=True).encode()).hexdigest()


def averaged(states: Tensor) -> Tensor:
    """Average features ``(B, D, H, W)`` or tokens ``(B, L, D)`` to ``(B, D)``."""
    if states.ndim == 4:
        return states.mean((2, 3))
    return states.mean(1) if states.ndim == 3 else states


class Patches(nn.Module):
    """Random filters on contrast-normalised patches, rectified and pooled over quadrants.

    After Coates, Lee and Ng (AISTATS 2011), who learn their filters from data; these are fixed.
    It is a stand-in where nothing may be downloaded: it knows nothing that pre-training teaches.
    """

    FILTERS = 128
    SIDE = 7  # pixels of a filter
    CONTRAST = 10 / 255  # deviation below which a patch counts as flat
    THRESHOLD = 0.1  # cosine that a patch must exceed: sparser, 7 points better for class means

    def __init__(self) -> None:
        super().__init__()
        noise = rng_for(0, "patches").standard_normal((self.FILTERS, 3, self.SIDE, self.SIDE))
        places = np.arange(self.SIDE)
        blur = np.exp(-((places[:, None] - places) ** 2) / 2)  # strokes are smooth, noise is not
        bank = torch.from_numpy(blur @ noise @ blur).float()
        bank = bank - bank.mean((1, 2, 3), keepdim=True)
        self.bank = nn.Buffer(bank / bank.flatten(1).norm(dim=1).view(-1, 1, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(B, 3, S, S)`` in 0..255 to ``(B, 4 * FILTERS)``."""
        x = pictures / 255.0
        mean = functional.avg_pool2d(x, self.SIDE, 1).mean(1, keepdim=True)
        square = functional.avg_pool2d(x * x, self.SIDE, 1).mean(1, keepdim=True)
        variance = (square - mean * mean).clamp(min=0.0) + self.CONTRAST**2
        norm = (variance * self.bank[0].numel()).sqrt()
        cosines = functional.conv2d(x, self.bank) / norm
        active = functional.relu(cosines - self.THRESHOLD)
        return functional.adaptive_avg_pool2d(active, 2).flatten(1)


def patches(size: int, device: torch.device, precision: str) -> ImageModel:
    """Return the stand-in; it looks at 32 pixels a side at most, and at 8 at least."""
    require_size("patches", size, 8)
    size, network = min(size, 32), Patches().to(device).eval()
    settings: dict[str, object] = {"model": "patches", "size": size, "precision": precision}
    mark = fingerprint(settings, state_hash(network))
    return ImageModel("patches", 4 * Patches.FILTERS, mark, network, size, device, precision)


def require_size(name: str, size: int, least: int) -> None:
    """Raise UserError if ``large.size`` is less than a model can read."""
    if size < least:
        raise UserError(f"large.size: must be at least {least} for {name}, found {size}")


def state_hash(network: nn.Module) -> str:
    """Return the sha256 of a network's named weights and buffers."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(raw.numpy().data)
    return digest.hexdigest()
