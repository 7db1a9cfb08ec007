"""Named arrays as they arrive: read, and whether they fit what they are for and are numbers.

Where an array lies decides how a processor adds: at an address that is no multiple of 64, as inside
a file or a message, or in another order, its kernels round differently. So whatever is computed
with again is first brought into memory of torch's own: numbers must not depend on where they were.
"""

from collections.abc import Mapping
from pathlib import Path
from reprlib import repr as shortened

import torch
from safetensors.torch import load_file
from torch import Tensor

CPU = torch.device("cpu")


def owned(tensor: Tensor) -> Tensor:
    """Return a copy in memory of torch's own, row after row, without a history."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def settled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return arrays as they will lie once they were saved and read: only the others are copied."""
    return {
        name: tensor if tensor.is_contiguous() and tensor.data_ptr() % 64 == 0 else owned(tensor)
        for name, tensor in state.items()
    }


def read_state(path: Path, device: torch.device = CPU) -> dict[str, Tensor]:
    """Return the arrays of a file in memory of their own, as if they had just been computed.

    Raises OSError or SafetensorError if there is no such file.
    """
    arrays: dict[str, Tensor] = load_file(path, device=str(device))
    return {name: owned(tensor) for name, tensor in arrays.items()}


def misfit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Return in words which array is not of the name, shape and type that is wanted, or not finite.

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
    """Return whether an array is a placeholder of infinite values; on ``meta`` none is."""
    if tensor.is_meta or not tensor.is_floating_point():
        return False
    return not tensor.sum().isfinite() and bool(tensor.isinf().any())


def infinity(found: Mapping[str, Tensor]) -> str | None:
    """Return which array holds an infinite value or NaN, in words; None if all are finite."""
    for name, tensor in found.items():
        values = tensor.float() if tensor.is_floating_point() else tensor.new_zeros(0)
        if values.sum().isfinite():  # quicker, and true of none that holds such a value
            continue
        finite = values.isfinite()
        if not finite.all():
            return f"{name[:80]!r} must be finite, found {values[~finite][0].item()}"
    return None
