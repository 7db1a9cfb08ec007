"""TOML files of settings as they are read, and what errors say of what is in them."""

import difflib
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedbridge.core.errors import UserError
from fedbridge.core.files import read_words, require_shallow, too_deep

LARGEST = 4 * 2**20
"""Most bytes of a file of settings."""
TOLD = 20
"""Most faults of a file that are told."""
LONGEST = 200
"""Most letters of a value that are shown."""


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """Return what stands in a TOML file; raise UserError if this ``kind`` of file is unreadable."""
    try:
        text = read_words(path, f"{kind} file", LARGEST)
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UserError(f"{error}{similar(path)}") from error
        raise
    return parse_toml(text, str(path))


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return what a text states; raise UserError naming its ``source`` if it is no TOML."""
    try:
        tree = tomllib.loads(text)
    except RecursionError as error:
        raise UserError(f"{source}: {too_deep()}") from error
    except (ValueError, MemoryError) as error:  # numbers of thousands of digits among them
        raise UserError(f"{source}: not valid TOML: {error}") from error
    require_shallow(tree, source)
    return tree


def similar(path: Path) -> str:
    """Return a question after what lies there under a similar name; empty if nothing does."""
    there = next(parent for parent in path.parents if parent.is_dir())
    missing = path.relative_to(there).parts[0]
    try:
        close = difflib.get_close_matches(missing, os.listdir(there), n=1)
    except OSError:
        return ""
    return f"; did you mean {str(there / close[0])!r}?" if close else ""


def explained(explain: Callable[[dict[str, Any]], str], error: ValidationError) -> str:
    """Return what ``explain`` says of each fault that was found, of many the first ones."""
    items = error.errors()
    lines = [explain(dict(item)) for item in items[:TOLD]]
    return "; ".join([*lines, *([f"and {more} more"] if (more := len(items) - TOLD) > 0 else [])])


def found_value(value: object) -> str:
    """Return a value as an error shows it: a long one is cut off."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
