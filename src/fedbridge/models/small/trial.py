"""A small model is tried before a run, so that whatever it does wrong is said at once."""

import copy
from collections.abc import Iterable

import torch
from safetensors.torch import save
from torch import Tensor, nn

from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.core.tokens import VOCABULARY
from fedbridge.models import build_backbone
from fedbridge.models.optimiser import adamw

ITEMS = 4
RATE = 1e-3
KINDS = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8),
    *(torch.int8, torch.int16, torch.int32, torch.int64),
)
"""What a message can carry and a mean can be taken of."""


def check_models(names: Iterable[str], shape: tuple[int, ...]) -> None:
    """Build every small model and try it on inputs of a shape, ``(C, S, S)`` or ``(L,)``.

    Raises UserError unless each maps ``(B, ...)`` to finite float32 ``(B, features)``, in training
    and after it, draws nothing at random but its first weights, which are the same whenever it is
    built, and has a state that can be trained, copied, sent and averaged.
    """
    for name in sorted(set(names)):
        _require_usable(name, shape)


def _require_usable(name: str, shape: tuple[int, ...]) -> None:
    with torch.random.fork_rng(devices=[]):
        model, again = _built(name, shape), _built(name, shape)
        _require_sound(name, model)
        _require_same(name, model, again)
        width = int(model.features)  # type: ignore[arg-type]
        with foreign_errors(name, "small.models"):
            save({k: v.contiguous() for k, v in model.state_dict().items()})
            before = torch.get_rng_state()
            trained = _trained(model, _items(shape))
            drew = not torch.equal(torch.get_rng_state(), before)
            copy.deepcopy(model).load_state_dict(again.state_dict())
            used = model.eval()(_items(shape)[:1])
    for features, count in ((trained, ITEMS), (used, 1)):
        _check(name, features, (count, width))
    if drew:
        raise UserError(
            f"small.models: {name} must draw nothing at random while it is trained (set its "
            "dropout to 0): no run could be repeated or resumed"
        )


def _built(name: str, shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(name, shape)


def _trained(model: nn.Module, items: Tensor) -> object:
    """Return what a model answers while it is trained, and let it learn one step from it."""
    features = model.train()(items)
    if not isinstance(features, Tensor) or not features.requires_grad:
        return features
    optimiser = adamw(model.parameters(), RATE, 0.0)
    features.square().mean().backward()
    optimiser.step()
    return features.detach()


def _require_same(name: str, model: nn.Module, again: nn.Module) -> None:
    other = again.state_dict()
    for key, value in model.state_dict().items():
        if key not in other or not torch.equal(value, other[key]):
            raise UserError(
                f"small.models: {name} must begin with the same weights whenever it is built after "
                f"torch.manual_seed, found others in {key!r}: draw them with torch"
            )


def _require_sound(name: str, model: nn.Module) -> None:
    """Raise UserError, naming an array, if the state is not what can be sent and averaged."""
    for key, weight in model.named_parameters():
        if fault := _fault(weight):
            raise UserError(f"small.models: {name}: its weights must be {fault} in {key!r}")
    names: dict[tuple[int, torch.Size], str] = {}
    for key, value in model.state_dict().items():
        _require_real(name, key, value)
        place = value.data_ptr(), value.shape
        if value.numel() and names.setdefault(place, key) != key:
            raise UserError(
                f"small.models: {name}: a weight must have one name, since models are averaged by "
                f"names, found {names[place]!r} and {key!r} to be the same"
            )


def _fault(weight: Tensor) -> str:
    """Return what a weight must be and is not, empty if it can be trained."""
    if weight.dtype != torch.float32:
        return f"float32, found {_word(weight)}"
    places = zip(weight.stride(), weight.shape, strict=True)
    if any(stride == 0 and size > 1 for stride, size in places):
        return "cloned where they are expanded, found one number in several places"
    return "" if weight.isfinite().all() else "finite, found NaN or infinity"


def _require_real(name: str, key: str, value: object) -> None:
    if not isinstance(value, Tensor) or value.dtype not in KINDS:
        found = _word(value) if isinstance(value, Tensor) else type(value).__name__
        raise UserError(
            f"small.models: {name}: its state must be of real numbers, found {found} in {key!r}"
        )
    if value.isnan().any():  # what is infinite may be a mask, or the least of nothing
        raise UserError(f"small.models: {name}: its state must be numbers, found NaN in {key!r}")


def _word(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


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
            f"{_word(features)} {tuple(features.shape)}"
        )
    if not features.isfinite().all():
        raise UserError(f"small.models: {name} must return finite numbers, found NaN or infinity")
