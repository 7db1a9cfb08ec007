"""Named arrays as they arrive: whether they fit what they are for, and whether they are numbers."""

from collections.abc import Mapping
from reprlib import repr as shortened

from torch import Tensor


def misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Say which array is not of the name, shape and type that is wanted, or not finite.

    None where all fit. The values of ``wanted`` matter only where they are infinite: a buffer that
    begins so, such as a mask or a minimum of nothing, may be infinite.
    """
    if missing := sorted(wanted.keys() - found.keys()):
        return f"{missing[0]!r} must be there, found {len(found)} arrays without it"
    if unknown := sorted(found.keys() - wanted.keys()):
        return f"must have {len(wanted)} arrays, found one more: {unknown[0][:80]!r}"
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            shape, other = tuple(wanted[name].shape), shortened(tuple(tensor.shape))
            return f"{name!r} must have shape {shape}, found {other}"
        if tensor.dtype != wanted[name].dtype:
            return f"{name!r} must be {wanted[name].dtype}, found {tensor.dtype}"
    if infinity(found) is None:
        return None
    free = {name for name, tensor in wanted.items() if placeholder(tensor)}
    return infinity({k: v for k, v in found.items() if k not in free or v.isnan().any()})


def placeholder(tensor: Tensor) -> bool:
    """Say whether an array has infinite values to stand for nothing yet; none has on ``meta``."""
    if tensor.is_meta or not tensor.is_floating_point():
        return False
    return not tensor.sum().isfinite() and bool(tensor.isinf().any())


def infinity(found: Mapping[str, Tensor]) -> str | None:
    """Say which array holds a value that is infinite or no number, None if all are finite."""
    for name, tensor in found.items():
        values = tensor.float() if tensor.is_floating_point() else tensor.new_zeros(0)
        if values.sum().isfinite():  # quicker, and true of none that holds such a value
            continue
        finite = values.isfinite()
        if not finite.all():
            return f"{name[:80]!r} must be finite, found {values[~finite][0].item()}"
    return None
