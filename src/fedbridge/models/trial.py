"""A small model is tried before a run, so that whatever it does wrong is said at once."""

from collections.abc import Iterable

import torch
from safetensors.torch import save
from torch import Tensor

from fedbridge.data.tokens import VOCABULARY
from fedbridge.errors import UserError
from fedbridge.models import build_backbone
from fedbridge.models.foundation import foreign_errors

ITEMS = 4


def check_models(names: Iterable[str], shape: tuple[int, ...]) -> None:
    """Build every small model once and try it on inputs of a shape, ``(C, S, S)`` or ``(L,)``.

    Raises UserError unless each maps ``(B, ...)`` to finite float32 ``(B, features)``, in training
    and after it, draws nothing at random, and has a state that can be sent.
    """
    for name in sorted(set(names)):
        _require_usable(name, shape)


def _require_usable(name: str, shape: tuple[int, ...]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_backbone(name, shape)
        width = int(model.features)  # type: ignore[arg-type]
        with foreign_errors(name, "small.models"):
            before = torch.get_rng_state()
            trained = model.train()(_items(shape))
            drew = not torch.equal(torch.get_rng_state(), before)
            used = model.eval()(_items(shape)[:1])
            save({k: v.contiguous() for k, v in model.state_dict().items()})
    for features, count in ((trained, ITEMS), (used, 1)):
        _check(name, features, (count, width))
    if drew:
        raise UserError(
            f"small.models: {name} must draw nothing at random while it is trained (set its "
            "dropout to 0): no run could be repeated or resumed"
        )


def _items(shape: tuple[int, ...]) -> Tensor:
    """Return inputs ``(ITEMS, ...)`` that differ: pictures in [0, 1], or token ids, 0 = padding."""
    if len(shape) == 3:
        return torch.linspace(0.0, 1.0, ITEMS * shape[0] * shape[1] * shape[2]).view(-1, *shape)
    ids = torch.arange(ITEMS * shape[0]).view(-1, *shape) % VOCABULARY
    return ids * (torch.arange(shape[0]) < torch.arange(1, ITEMS + 1).unsqueeze(1))


def _check(name: str, features: object, wanted: tuple[int, int]) -> None:
    kind = "(B, features)"
    if not isinstance(features, Tensor):
        raise UserError(
            f"small.models: {name} must return a tensor {kind}, found {type(features).__name__}"
        )
    if features.shape != wanted or features.dtype != torch.float32:
        raise UserError(
            f"small.models: {name} must map {wanted[0]} items to float32 {kind} = {wanted}, found "
            f"{str(features.dtype).removeprefix('torch.')} {tuple(features.shape)}"
        )
    if not features.isfinite().all():
        raise UserError(f"small.models: {name} must return finite numbers, found NaN or infinity")
