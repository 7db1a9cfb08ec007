"""One spelling for every value that serves as a word, wherever it comes from, and what is none.

A label, domain, task, side or group is compared as a word. The same value must give the same
word, whether a file holds it as a text, a whole number, a float, a truth value or a date.
"""

import datetime
import math
import re
import unicodedata
import uuid
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from fedbridge.core.errors import UserError

RULES = 2
"""Number of these rules and of those for numbers in tables; raised when the same file gives other
words, so that what was prepared by older rules is not used."""
MISSING = (
    *("NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "NaT", "None", "NULL", "null"),
    *("(null)", "[NULL]", "\\N", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    *("#N/A", "#N/A N/A", "#NA", "#NV", "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!"),
)
"""What R, pandas, databases and spreadsheets write where there is no value."""
WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
POWER = re.compile(r"-?\d(?:\.\d+)?e[+-]\d\d+")
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?")
TRUTH = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
LARGEST = 2.0**64  # whole floats below are written with all their digits


def word_of(value: Any) -> str:
    """Return a value as a word: composed (NFC), without blanks around it, spelled in one way.

    3, 3.0, ``Decimal("3.00")`` and the text ``3.0`` are ``3``; a truth value is ``true`` or
    ``false``; midnight is its date. Texts are otherwise as they stand: ``007`` stays. Raises
    UserError, which states the rule and the value, if it is missing or no word can be made of it.
    """
    known = value if type(value) is str else plain_value(value)
    for kinds, spelled in SPELLINGS:
        if isinstance(known, kinds):
            return spelled(known)
    found = "no value" if known is None else f"{type(value).__name__} {value!r:.40}"
    raise UserError(f"must hold numbers, words or dates, found {found}")


def is_missing(value: Any, words: Collection[str] = MISSING) -> bool:
    """Return whether a place holds no value: nothing, blanks only, or one of the words for it."""
    known = value if type(value) is str else plain_value(value)
    if known is None:
        return True
    return isinstance(known, str) and (not (told := known.strip()) or told in words)


def plain_value(value: Any) -> Any:
    """Return a scalar of NumPy, torch, pandas or pyarrow as Python has it; None if it is missing.

    A float of few bits is the number of the fewest digits that it may stand for: 0.1 is 0.1.
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):  # a float64 of NumPy is one too
        return None if math.isnan(value) else float(value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else value
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return _unwrapped(value)


def composed(text: str) -> str:
    """Return a text with composed letters (NFC), as most keyboards and systems write them."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def alike(words: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the words that differ in case, in blanks or as numbers alone (1.5 and 1.50)."""
    found: dict[str, dict[str, None]] = {}
    for word in words:
        found.setdefault(_folded(word), {})[word] = None
    return [tuple(same) for same in found.values() if len(same) > 1]


def _folded(word: str) -> str:
    folded = "".join(unicodedata.normalize("NFKC", word).casefold().split())
    return repr(float(folded)) if re.fullmatch(r"-?\d+\.\d+", folded) else folded


@lru_cache(maxsize=1 << 16)
def _spelled(text: str) -> str:
    word = composed(text.strip())
    if not word:
        raise UserError("must have a value, found none")
    if whole := WHOLE.fullmatch(word):
        return "0" if whole[1] == "-0" else whole[1]
    if POWER.fullmatch(word) and repr(float(word)) == word:  # as Python writes a float
        return _of_number(float(word))
    if MOMENT.fullmatch(word):
        try:
            return word_of(datetime.datetime.fromisoformat(word))
        except ValueError:  # a month of 13, say
            return word
    return TRUTH.get(word, word)


def _of_number(number: float | Decimal) -> str:
    """Return the digits of a number, the fewest that tell it from its neighbours."""
    if -LARGEST < number < LARGEST and int(number) == number:
        return str(int(number))
    near = float(number)
    if isinstance(number, float) or Decimal(repr(near)) == number:
        return repr(near)
    return format(number.normalize(), "f")


def _unwrapped(value: Any) -> Any:
    import numpy as np  # the command's help needs no arrays

    if isinstance(value, np.datetime64 | np.timedelta64):
        return _of_moment(value)
    if isinstance(value, np.floating):
        return plain_value(float(str(value)))
    if hasattr(value, "as_py"):  # of Arrow
        return plain_value(value.as_py())
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return plain_value(value[()] if isinstance(value, np.ndarray) else value.item())
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _of_moment(value: Any) -> Any:
    if str(value) == "NaT":
        return None
    coarse = value.astype(f"{type(value).__name__}[us]")
    return coarse.item() if coarse == value else str(value).replace("T", " ")


def _decoded(data: bytes) -> str:
    try:
        return _spelled(data.decode())
    except UnicodeDecodeError:
        raise UserError(
            f"must hold numbers, words or dates, found bytes that are no UTF-8 ({data!r:.40})"
        ) from None


SPELLINGS: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    (str, _spelled),
    (bool, lambda truth: str(truth).lower()),
    (int, str),
    ((float, Decimal), _of_number),
    (datetime.datetime, lambda moment: moment.isoformat(sep=" ").removesuffix(" 00:00:00")),
    ((datetime.date, datetime.time), lambda day: day.isoformat()),
    ((datetime.timedelta, uuid.UUID), str),
    (bytes, _decoded),
)
"""How a value of each kind is spelled; the first that fits."""
