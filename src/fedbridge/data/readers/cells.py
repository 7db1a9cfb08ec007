"""Rows of numbers and words: as a text for the FM, as tokens for the small models."""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.errors import UserError
from fedbridge.core.tokens import LENGTH, VOCABULARY
from fedbridge.core.words import is_missing, plain_value, word_of
from fedbridge.data.readers.signs import Signs, signs_within

DIGITS = (2, 1)  # significant digits at which a number is a token: close numbers share one
Cell = float | int | str
KEPT = 1 << 16  # cells whose words and tokens are remembered, since few differ


@dataclass(frozen=True, slots=True)
class Cells:
    """The columns of a row that have a value, each a number or a word."""

    values: tuple[tuple[str, Cell], ...]

    @property
    def text(self) -> str:
        """Return ``column: value, column: value``, as an FM for texts reads it."""
        return ", ".join([f"{name}: {_word(value)}" for name, value in self.values])

    @property
    def tokens(self) -> NDArray[np.uint16]:
        """Return token ids ``(LENGTH,)``: each column gives one for its word or two for its number.

        A number is hashed together with its column at two precisions, so that it needs no scale
        on which all sites would have to agree.
        """
        ids = np.zeros(LENGTH, np.uint16)
        told = [token for name, value in self.values for token in _tokens(name, value)][:LENGTH]
        ids[: len(told)] = told
        return ids


def cells(values: Mapping[str, Any], signs: Signs | None = None) -> Cells:
    """Return the values of columns; raise UserError if one is neither number, word nor date.

    ``signs`` say how numbers are written that are texts; by default these texts tell it.
    """
    known = {name: plain_value(value) for name, value in values.items() if not is_missing(value)}
    signs = signs or signs_within(value for value in known.values() if isinstance(value, str))
    return Cells(tuple((name, cell(name, value, signs)) for name, value in known.items()))


def cell(name: str, value: Any, signs: Signs) -> Cell:
    """Return a value as a number or a word; raise UserError if it is neither."""
    number = _number(value, signs)
    if number is not None:
        return number
    try:
        return word_of(value)
    except UserError as error:
        raise UserError(f"column {name!r} {error}") from None


def _number(value: Any, signs: Signs) -> float | int | None:
    """Return a number, as a float if that is exact; None if it is none or endless."""
    if isinstance(value, str):
        value = signs.number(value)
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        near = math.nan if value is None else float(value)
    except OverflowError:
        return None
    if not math.isfinite(near):
        return None
    return value if isinstance(value, int) and int(near) != value else near


@lru_cache(KEPT)
def _word(value: Cell) -> str:
    return value if isinstance(value, str) else word_of(value)


@lru_cache(KEPT)
def _tokens(name: str, value: Cell) -> tuple[int, ...]:
    if isinstance(value, str):
        told = [f"{name}={value.casefold()}"]
    else:
        told = [f"{name}={value:.{digits}g}" for digits in DIGITS]
    return tuple(zlib.crc32(token.encode()) % (VOCABULARY - 1) + 1 for token in told)
