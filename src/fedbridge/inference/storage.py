"""A predictor in a folder of its own: safetensors and a manifest, nothing to be unpickled."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.core.saved import MANIFEST, opened, saving
from fedbridge.core.states import infinity, misfit, owned, read_state
from fedbridge.data.readers.reading import Reading
from fedbridge.inference.large import FoundationSettings, LargePredictor
from fedbridge.models.calibration import Mixture
from fedbridge.models.small.classifier import Classifier
from fedbridge.models.statistics import FeatureMap
from fedbridge.models.trust import require_trusted

KIND: Literal["predictor"] = "predictor"
SMALL, LARGE = "small.safetensors", "large.safetensors"
State = dict[str, Tensor]
CPU = torch.device("cpu")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SmallAbout(_Part):
    """What a small model is built from."""

    model: str
    classes: tuple[str, ...]
    dimension: int
    temperature: float


class LargeManifest(_Part):
    """What the large side is built from; its settings are those of the run."""

    settings: FoundationSettings
    precision: Literal["float32", "bfloat16", "float16"]
    seed: int
    fingerprint: str


class PredictorManifest(_Part):
    """What a predictor's manifest says."""

    small: SmallAbout
    reading: Reading
    mixture: Mixture
    sharpness: float
    large: LargeManifest | None
    about: dict[str, Any]


@dataclass(frozen=True, eq=False)
class PredictorParts:
    """What a predictor is made of, and all that is saved of it."""

    small: Classifier
    reading: Reading
    mixture: Mixture
    """The powers of both sides in ``together``."""
    sharpness: float
    """What makes the large side's scores logits where it stands alone."""
    large: LargePredictor | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """Where it comes from: the client, the run's settings, what was measured."""
    device: torch.device = CPU


def save_parts(predictor: PredictorParts, folder: Path) -> None:
    """Write a predictor into a new folder, or in the place of one that was saved there."""
    small, large = predictor.small, predictor.large
    about = PredictorManifest(
        small=SmallAbout(
            model=small.model,
            classes=small.classes,
            dimension=small.anchors.shape[1],
            temperature=small.temperature,
        ),
        reading=predictor.reading,
        mixture=predictor.mixture,
        sharpness=predictor.sharpness,
        large=None if large is None else _about(large),
        about=predictor.about,
    )
    with saving(folder, KIND, about.model_dump(mode="json")) as draft:
        save_file(_plain(small.state_dict()), draft / SMALL)
        if large is not None:
            save_file(_plain(_arrays(large)), draft / LARGE)


def load_parts(folder: Path, device: torch.device, trust: Collection[str]) -> PredictorParts:
    """Return what makes the predictor in a folder; see ``load_predictor`` for what is refused."""
    try:
        about = PredictorManifest.model_validate(opened(folder, KIND))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{folder / MANIFEST}: about.{place}: {first['msg']}") from error
    large = about.large.settings.model if about.large else None
    require_trusted(folder / MANIFEST, [about.small.model], large, trust)
    with foreign_errors(about.small.model, f"{folder / MANIFEST}: about.small"):
        small = Classifier(**dict(about.small), input_shape=about.reading.inputs)
    state = _read(folder / SMALL)
    if fault := misfit(state, small.state_dict()):
        raise UserError(f"{folder / SMALL}: {fault}")
    small.load_state_dict(state)
    return PredictorParts(
        small=small.to(device).eval(),
        reading=about.reading,
        mixture=about.mixture,
        sharpness=about.sharpness,
        large=None if about.large is None else _large(about.large, folder, len(small.classes)),
        about=about.about,
        device=device,
    )


def _about(large: LargePredictor) -> LargeManifest:
    return LargeManifest.model_validate(
        {name: getattr(large, name) for name in LargeManifest.model_fields}
    )


def _arrays(large: LargePredictor) -> State:
    lift = large.lift
    arrays = {"head": large.head, "mean": torch.from_numpy(lift.mean)}
    arrays["scale"] = torch.from_numpy(lift.scale)
    if lift.projection is not None:
        arrays["projection"] = torch.from_numpy(lift.projection)
    return arrays | {f"part/{name}": tensor for name, tensor in large.part.items()}


def _large(about: LargeManifest, folder: Path, classes: int) -> LargePredictor:
    path = folder / LARGE
    arrays = _read(path)
    part = {k.removeprefix("part/"): v for k, v in arrays.items() if k.startswith("part/")}
    own = {k: v for k, v in arrays.items() if not k.startswith("part/")}
    units, width = own.get("head", torch.zeros(0)).shape[:1], own.get("mean", torch.zeros(0)).shape
    wanted = {"head": torch.zeros(*units, classes), "mean": torch.zeros(width)}
    wanted["scale"] = torch.zeros(width)
    if about.settings.projection:
        wanted["projection"] = torch.zeros(*width, *units)
    if fault := misfit(own, wanted) or infinity(part):
        raise UserError(f"{path}: {fault}")
    projection = own["projection"].numpy() if "projection" in own else None
    lift = FeatureMap(own["mean"].numpy(), own["scale"].numpy(), projection)
    return LargePredictor(**dict(about), lift=lift, head=own["head"], part=part)


def _read(path: Path) -> State:
    try:
        return read_state(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def _plain(state: State) -> State:
    return {name: owned(value.cpu()) for name, value in state.items()}
