"""What the arrays of a part of a data set must be: of one length, of the types, in range."""

from collections.abc import Iterator

import numpy as np

from fedbridge.core.errors import UserError
from fedbridge.core.store import Part


def require_fitting(name: str, part: Part, modality: str) -> None:
    """Raise UserError, naming data set, domain and array, if a part's arrays do not fit.

    As ``Part`` says: items uint8 ``(N, C, H, W)`` or N texts, inputs uint8 ``(N, C, S, S)`` with S
    16 or 32, or uint16 ``(N, L)``; labels and groups int64 ``(N,)``, split ``(N,)`` of 0 and 1.
    """
    found = next(_faults(part, modality), None)
    if found is not None:
        raise UserError(f"data set {name}, domain {part.domain!r}: {found}")


def _faults(part: Part, modality: str) -> Iterator[str]:
    count = len(part.labels)
    if not count:
        yield "must have items, found none"
    if len(set(part.classes)) < len(part.classes):
        yield f"classes must name each once, found {list(part.classes)}"
    yield from _contents(part, modality, count)
    for what in ("labels", "groups"):
        array = getattr(part, what)
        if array.dtype != np.int64 or array.shape != (count,):
            yield f"{what} must be int64 ({count},), found {array.dtype} {array.shape}"
    if not 0 <= part.labels.min() <= part.labels.max() < len(part.classes):
        yield (
            f"labels must be from 0 to {len(part.classes) - 1}, the places of the classes, found "
            f"{part.labels.min()} to {part.labels.max()}"
        )
    if part.split is not None and (
        part.split.shape != (count,) or not np.isin(part.split, (0, 1)).all()
    ):
        yield f"split must be 0 or 1 of each of {count} items, found {part.split.shape}"


def _contents(part: Part, modality: str, count: int) -> Iterator[str]:
    texts = isinstance(part.items, tuple)
    found = "text" if texts else "image"
    if found != modality:
        yield f"modality is {modality!r}, found items of {found}s"
    inputs = part.inputs
    if texts:
        fits = inputs.dtype == np.uint16 and inputs.ndim == 2
    else:
        fits = inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[2:] in _SIDES
        items = np.asarray(part.items)
        if items.dtype != np.uint8 or items.ndim != 4:
            yield f"items must be uint8 (N, C, H, W), found {items.dtype} {items.shape}"
    if not fits:
        wanted = "uint16 (N, L)" if texts else "uint8 (N, C, S, S) with S 16 or 32"
        yield f"inputs must be {wanted}, found {inputs.dtype} {inputs.shape}"
    for what in ("items", "inputs"):
        if len(getattr(part, what)) != count:
            yield f"{what} must be as many as labels, {count}, found {len(getattr(part, what))}"


_SIDES = ((16, 16), (32, 32))
