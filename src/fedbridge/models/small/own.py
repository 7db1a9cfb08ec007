"""Models that are a user's own functions, named ``MODULE:FUNCTION``."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fedbridge.config.models import SIDE
from fedbridge.core.entries import entry_at, foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.models.fm.foundation import (
    Items,
    as_pictures,
    embeddings,
    fingerprint,
    resized,
)


def backbone(where: str, shape: tuple[int, ...]) -> nn.Module:
    """Return the small model that a user's own function builds for inputs of a shape.

    Raises UserError if it cannot be found or built, or is no module with ``features``.
    """
    function = entry_at(where, where, "small.models")
    with foreign_errors(where, "small.models"):
        model = function(shape)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"small.models: {where} must return a torch.nn.Module, found {type(model).__name__}"
        )
    features = getattr(model, "features", None)
    if not isinstance(features, int) or features < 1:
        raise UserError(
            f"small.models: {where}: its module must have an attribute 'features', the width of "
            f"what it returns, found {features!r}"
        )
    _materialise(where, model, shape)
    return model


def _materialise(where: str, model: nn.Module, shape: tuple[int, ...]) -> None:
    """Give lazy layers their weights, drawn as all others from torch's current generator.

    Raises UserError if one is not reached by what the model does with inputs of its shape.
    """
    if not _lazy(model):
        return
    kind = torch.float32 if len(shape) == 3 else torch.int64
    training = model.training
    with foreign_errors(where, "small.models"), torch.no_grad():
        model.eval()(torch.zeros(1, *shape, dtype=kind))
    model.train(training)
    if left := _lazy(model):
        raise UserError(
            f"small.models: {where}: every lazy layer must be used, found {left[0]!r} without "
            "weights after a pass"
        )


def _lazy(model: nn.Module) -> list[str]:
    arrays = (*model.named_parameters(), *model.named_buffers())
    return [name for name, array in arrays if is_lazy(array)]


class FunctionModel:
    """An FM that is the user's own function, of pictures in [0, 1] or of strings."""

    modality: Literal["any"] = "any"

    def __init__(
        self,
        name: str,
        fingerprint: str,
        function: Callable[[Any], Any],
        size: int,
        device: torch.device,
    ) -> None:
        self.name = name
        self.dimension: int | None = None
        """What it says of an item cannot be known before it has seen one."""
        self.fingerprint = fingerprint
        self.size = size
        self._function = function
        self._device = device

    @torch.inference_mode()
    def encode(self, items: Items) -> Tensor:
        """Map uint8 ``(B, C, H, W)`` or B strings to float32 ``(B, D)``."""
        if not isinstance(items, np.ndarray):
            return self._called(list(items))
        pictures = resized(as_pictures(self.name, items), self.size, self._device)
        return self._called(pictures / 255.0)

    def _called(self, batch: Tensor | list[str]) -> Tensor:
        with foreign_errors(self.name):
            found = torch.as_tensor(self._function(batch))
        result = embeddings(self.name, found, len(batch), self.dimension)
        self.dimension = result.shape[1]
        return result


def from_callable(
    where: str, size: int | None, device: torch.device, precision: str
) -> FunctionModel:
    """Wrap ``MODULE:FUNCTION``, which maps float32 ``(B, 3, S, S)`` or a list of B strings.

    Its fingerprint is that of its module's source; where weights come from elsewhere, give the
    function an attribute ``fingerprint`` that distinguishes them. Raises UserError if it cannot be
    found.
    """
    name, size = f"callable:{where}", size or SIDE
    function = entry_at(where, name, "large.model")
    with foreign_errors(name):
        source = inspect.getsource(sys.modules[where.partition(":")[0]])
    settings: dict[str, object] = {"model": where, "size": size, "source": source}
    mark = fingerprint(settings, str(getattr(function, "fingerprint", "")))
    return FunctionModel(name, mark, function, size, device)
