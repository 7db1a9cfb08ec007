"""Rows of numbers and words: as a text for the FM, as tokens for the small models."""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.data.tokens import LENGTH, VOCABULARY
from fedbridge.errors import UserError

DIGITS = (2, 1)  # significant digits at which a number is a token: close numbers share one


@dataclass(frozen=True)
class Cells:
    """The columns of a row that have a value, each a number or a word."""

    values: tuple[tuple[str, float | str], ...]

    @property
    def text(self) -> str:
        """Return ``column: value, column: value``, as an FM for texts reads it."""
        return ", ".join(f"{name}: {as_word(value)}" for name, value in self.values)

    @property
    def tokens(self) -> NDArray[np.uint16]:
        """Return token ids ``(LENGTH,)``: each column gives one for its word or two for its number.

        A number is hashed together with its column at two precisions, so that it needs no scale
        on which all sites would have to agree.
        """
        ids = np.zeros(LENGTH, np.uint16)
        told = [token for name, value in self.values for token in _tokens(name, value)]
        for place, token in enumerate(told[:LENGTH]):
            ids[place] = zlib.crc32(token.encode()) % (VOCABULARY - 1) + 1
        return ids


def cells(values: dict[str, Any]) -> Cells:
    """Return the values of columns; raise UserError if one is neither number, word nor date."""
    known = {name: value for name, value in values.items() if not is_missing(value)}
    return Cells(tuple((name, _plain(name, value)) for name, value in known.items()))


def is_missing(value: Any) -> bool:
    """Say whether a table has no value in a place."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def as_word(value: Any) -> str:
    """Return a value as it stands in labels and texts: 3.0 is the word ``3``, as 3 is."""
    return f"{value:.6g}" if isinstance(value, float) else str(value).strip()


def _tokens(name: str, value: float | str) -> list[str]:
    if isinstance(value, str):
        return [f"{name}={value.casefold()}"]
    return [f"{name}={value:.{digits}g}" for digits in DIGITS]


def _plain(name: str, value: Any) -> float | str:
    if isinstance(value, bytes | list | dict):
        raise UserError(f"column {name!r} must hold numbers, words or dates, found {value!r:.40}")
    if isinstance(value, bool):
        return str(value).lower()
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value).strip()
    return number if math.isfinite(number) else str(value)
