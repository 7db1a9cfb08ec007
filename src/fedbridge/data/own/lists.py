"""Values for each item of a program: of lists, arrays, tensors and columns of pandas alike."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from fedbridge.core.errors import UserError
from fedbridge.core.words import is_missing, word_of


def listed_values(name: str, values: Any) -> list[Any]:
    """Return the values one by one; floats of few bits with the fewest digits that tell them.

    Raises UserError if they are no list.
    """
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu()
        short = values.is_floating_point() and values.dtype.itemsize < 4  # bfloat16
        values = (values.float() if short else values).numpy()
    elif hasattr(values, "to_pylist"):  # of Arrow
        values = values.to_pylist()
    elif hasattr(values, "to_numpy") and isinstance(values.dtype, np.dtype):  # of pandas
        values = values.to_numpy()  # its own kinds would become floats where a value is missing
    if isinstance(values, np.ndarray) and values.dtype.kind in "fmM":
        return list(values)  # tolist() would write 0.1 of 32 bits with all digits of 64
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise UserError(f"{name}: must be a list or an array, found {type(values).__name__}")
    return list(values)


def words_of(name: str, values: Any, count: int, missing: Collection[str]) -> list[str]:
    """Return a word for each of so many items.

    Raises UserError, naming the item, if there are more or fewer, or one has no value or another
    than a word.
    """
    _require_flat(name, values, count)
    each = listed_values(name, values)
    if len(each) != count:
        raise UserError(f"{name}: must have a value for each of {count} items, found {len(each)}")
    absent = [number for number, value in enumerate(each) if is_missing(value, missing)]
    if absent:
        raise UserError(
            f"{name}: must have a value for each item, found none for {len(absent)}, the first "
            f"being item {absent[0]} ({shown_value(each[absent[0]])})"
        )
    return [_word(name, number, value) for number, value in enumerate(each)]


def shown_value(value: Any) -> str:
    """Return a value that is missing as a message shows it: a word in quotes."""
    return repr(value) if isinstance(value, str) else str(value)


def shape_of(values: Any) -> tuple[int, ...]:
    """Return the shape of an array, or of a list of lists as far as its first ones tell it."""
    if (shape := getattr(values, "shape", None)) is not None:
        return tuple(shape)
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        return ()
    first = next(iter(values), None)
    return (len(values), *shape_of(first))


def _require_flat(name: str, values: Any, count: int) -> None:
    shape = shape_of(values)
    if shape == ():
        raise UserError(f"{name}: must have a value for each of {count} items, found 1")
    if len(shape) == 1:
        return
    advice = ""
    if len(shape) == 2 and shape[1] == 1:
        advice = f"; hand over {name}.ravel()"
    elif len(shape) == 2:
        advice = f"; of scores or one-hot rows hand over {name}.argmax(1)"
    raise UserError(f"{name}: must be one value for each item, found the shape {shape}{advice}")


def _word(name: str, number: int, value: Any) -> str:
    try:
        return word_of(value)
    except UserError as error:
        raise UserError(f"{name}: item {number}: {error}") from None
