"""What cannot be used: each with its place and the rule, to be refused or left out together."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.errors import UserError

T = TypeVar("T")
TOLD = 10  # faults that an error names at most


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file or a row."""

    place: str
    rule: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}"


def attempted(place: str, read: Callable[[], T]) -> T | Fault:
    """Return what was read, or what is wrong with it."""
    try:
        return read()
    except UserError as error:
        return Fault(place, str(error))
    except Exception as error:  # decoders raise whatever they like
        return Fault(place, f"cannot be read ({type(error).__name__}: {error})")


def listed(broken: Iterable[Fault | str]) -> str:
    """Return in words how many files or rows cannot be used, and name the first ones."""
    lines = [str(fault) for fault in broken]
    more = "; ..." if len(lines) > TOLD else ""
    return f"{len(lines)} cannot be used: {'; '.join(lines[:TOLD])}{more}"


def on_both_sides(
    contents: Sequence[Hashable], tested: NDArray[np.bool_], places: Sequence[str]
) -> dict[int, Fault]:
    """Return, by its row, each item that equals one of the test but is not of it."""
    first: dict[Hashable, int] = {}
    for row in np.flatnonzero(tested).tolist():
        first.setdefault(contents[row], row)
    return {
        row: Fault(places[row], f"must not be on both sides: equals {places[of_test]} of the test")
        for row in np.flatnonzero(~tested).tolist()
        if (of_test := first.get(contents[row])) is not None
    }
