"""The large side as a predictor: the foundation model (FM), the lift, and one client's head."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor

from fedbridge.config.models import PooledLarge
from fedbridge.core.errors import UserError
from fedbridge.core.states import owned
from fedbridge.models.fm.foundation import FoundationModel, Items, load_foundation
from fedbridge.models.fm.tuning import tunable
from fedbridge.models.statistics import FeatureMap

State = dict[str, Tensor]


class FoundationSettings(PooledLarge):
    """How an FM reads items, whatever head was made for it: other settings are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True, eq=False)
class LargePredictor:
    """Scores of an FM's head; the FM itself is loaded when it is first asked."""

    settings: FoundationSettings
    precision: str
    seed: int
    """The run's, from which a trained part of the FM began."""
    fingerprint: str
    """sha256 of the FM that the head was made for; empty where it was never needed."""
    lift: FeatureMap
    head: Tensor  # (M, C)
    part: State
    """The trained part of the FM, where there is one."""

    def scores(self, items: Items, device: torch.device) -> Tensor:
        """Return scores ``(n, C)``; raise UserError if the FM here is missing or another one."""
        parts = np.concatenate([self._encoded(chunk, device) for chunk in self._chunks(items)])
        features = owned(torch.from_numpy(self.lift(parts))).to(device)
        return features @ self.head.to(device)

    def _chunks(self, items: Items) -> list[Items]:
        size = self.settings.batch
        return [items[start : start + size] for start in range(0, len(items), size)]

    def _encoded(self, items: Items, device: torch.device) -> np.ndarray:
        if self.settings.tuned:
            fm = tunable(self.settings, device, self.seed)
            fm.load(self.part)
            return fm.encode(items, len(items)).cpu().numpy()
        frozen = foundation(self.settings.model, self.settings.size, device, self.precision)
        if frozen.fingerprint != self.fingerprint:
            raise UserError(
                f"large.model: {self.settings.model!r} is not the one that the head was made for: "
                f"its fingerprint must be {self.fingerprint[:12]}, found {frozen.fingerprint[:12]}"
            )
        return frozen.encode(items).numpy()


@lru_cache(maxsize=2)
def foundation(
    spec: str, size: int | Literal["auto"], device: torch.device, precision: str
) -> FoundationModel:
    """Return an FM as ``load_foundation`` does; the last ones are kept at hand."""
    return load_foundation(spec, size, device, precision)
