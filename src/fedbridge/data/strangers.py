"""Data sets that somebody else's module gives: asked once, checked, and kept in the cache."""

import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.core.store import Part, content_fingerprint, read_part, write_parts
from fedbridge.core.words import RULES
from fedbridge.data.fitting import require_fitting
from fedbridge.data.own.arrays import read_items
from fedbridge.data.readers.faults import listed
from fedbridge.data.readers.pixels import PIXELS
from fedbridge.data.spec import DataSource, Items


def source_folder(name: str, source: DataSource, options: Any, root: Path) -> Path:
    """Return the folder in the cache of what a module gives as it stands now, with these options.

    Another text of the module, another ``version`` or other options have another folder.
    """
    text = _source(sys.modules[name.partition(":")[0]]) or _source(source.load or source.parts)
    settings = None if options is None else options.model_dump(mode="json")
    return root / content_fingerprint([RULES, PIXELS, name, text, source.version, settings])[:32]


def _source(of: Any) -> str:
    """Return the text of a module or a function; a compiled one has none, nor has a notebook."""
    try:
        return inspect.getsource(of)
    except (OSError, TypeError):
        return ""


def loaded_parts(
    name: str, source: DataSource, options: Any, folder: Path
) -> list[tuple[Part, str]]:
    """Return domain by domain what ``load`` gives, kept in a folder of the cache.

    Raises UserError, naming the data set, if it raises, returns no Items, or they do not fit.
    """
    if not folder.is_dir():
        write_parts(folder, partial(_loaded, name, source, options))
    return [read_part(part) for part in sorted(folder.iterdir())]


def checked_parts(
    name: str, source: DataSource, domains: tuple[str, ...], workspace: Path
) -> Iterator[Part]:
    """Yield what ``parts`` gives; raise UserError if it raises, or a part does not fit."""
    assert source.parts is not None
    with foreign_errors(name, "data set"):
        for part in source.parts(domains, workspace):
            if not isinstance(part, Part):
                raise UserError(
                    f"data set {name}: parts must yield a Part, found {type(part).__name__}"
                )
            require_fitting(name, part, source.modality)
            yield part


def _loaded(name: str, source: DataSource, options: Any, workspace: Path) -> Iterator[Part]:
    assert source.load is not None
    own = workspace / "own"
    own.mkdir()
    with foreign_errors(name, "data set"):
        items = source.load(options, own)
    if not isinstance(items, Items):
        raise UserError(f"data set {name}: load must return Items, found {type(items).__name__}")
    try:
        for part in read_items(items).parts(workspace):
            if part.origin is not None and part.origin.broken:
                raise UserError(listed(part.origin.broken))
            require_fitting(name, part, source.modality)
            yield replace(part, licences=source.licences, sources=source.sources)
    except UserError as error:
        raise UserError(f"data set {name}: {error}") from error
