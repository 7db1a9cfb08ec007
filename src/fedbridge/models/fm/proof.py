"""A foundation model is tried on some of the data before all of them are encoded."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.models.fm.foundation import FoundationModel, Items, picked

FEW = 33
"""Items that are tried: an odd number, so that some batch is not full."""
WORDS = 300
"""Words of a text that is longer than most."""
ALIKE = 0.2
"""How far an item's embedding may differ with what else is in its batch, as a share of its length.
Rounding is a thousandth of it, integers instead of weights a tenth."""
Place = Callable[[int], str]
"""Names an item by its number."""


def prove(fm: FoundationModel, items: Items, batch: int, place: Place) -> None:
    """Make an FM encode some items as a run would, ``batch`` at a time, and the longest of them.

    An FM of texts is also given one of 300 words. Raises UserError, naming the items by
    ``place``, unless it returns what it must, whatever an item's batch.
    """
    rows = np.unique(np.linspace(0, len(items) - 1, min(FEW, len(items))).astype(np.int64))
    starts = range(0, len(rows), batch)
    found = torch.cat([encoded(fm, items, rows[start : start + batch], place) for start in starts])
    _require_alike(fm, found[:1], encoded(fm, items, rows[:1], place), place(0))
    if isinstance(items, np.ndarray):
        return
    longest = max(range(len(items)), key=lambda row: len(items[row]))
    encoded(fm, items, np.array([longest]), place)
    if fm.modality == "text":  # a function may read rows of a table, and no such text
        words = [word for row in rows.tolist() for word in items[row].split()] or ["word"]
        encoded(
            fm, [" ".join(np.resize(words, WORDS))], np.array([0]), lambda _: f"of {WORDS} words"
        )


def encoded(fm: FoundationModel, items: Items, rows: np.ndarray, place: Place) -> Tensor:
    """Return the embeddings ``(B, D)`` of some items; raise UserError naming the first of them."""
    try:
        with foreign_errors(fm.name):
            return fm.encode(picked(items, rows))
    except UserError as error:
        first = f"item {place(int(rows[0]))}"
        given = f"{len(rows)} items, the first being {first}" if len(rows) > 1 else first
        raise UserError(f"{error}; it was given {given}") from error


def _require_alike(fm: FoundationModel, one: Tensor, other: Tensor, place: str) -> None:
    gap, length = (one - other).norm(), torch.maximum(one.norm(), other.norm())
    if gap > ALIKE * length:
        raise UserError(
            f"large.model: {fm.name} must answer for an item alike whatever else is in its batch, "
            f"found answers for item {place} that differ by {gap / length:.0%}"
        )
