"""The data sets: prepared once from packages, cached, and offline ever after."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import (
    Data,
    FreeOptions,
    Hub,
    Own,
    checked_options,
    is_module,
    kind_of,
    title_of,
)
from fedbridge.core.entries import entry_of
from fedbridge.core.errors import UnavailableError, UserError
from fedbridge.core.notes import Notes
from fedbridge.core.store import (
    Images,
    Part,
    Texts,
    content_fingerprint,
    data_root,
    read_part,
    storage_errors,
    verify_part,
    write_part,
)
from fedbridge.data.catalog.annotations import ANNOTATIONS
from fedbridge.data.catalog.digits import DIGITS
from fedbridge.data.catalog.emoji import EMOJI
from fedbridge.data.catalog.fashion import FASHION
from fedbridge.data.catalog.fonts import FONTS
from fedbridge.data.catalog.wordnet import WORDNET
from fedbridge.data.dataset import Dataset
from fedbridge.data.hub.hub import PREFIX, chosen_parts, hub_parts, must_ask_hub
from fedbridge.data.own import own_parts
from fedbridge.data.own.arrays import from_arrays
from fedbridge.data.own.periods import numbered
from fedbridge.data.spec import DataSource, Division, Items, ScenarioKind, TaskItems
from fedbridge.data.strangers import checked_parts, loaded_parts, source_folder

__all__ = [
    "DATASETS",
    "DataSource",
    "Dataset",
    "Division",
    "Items",
    "ScenarioKind",
    "TaskItems",
    "check_data",
    "from_arrays",
    "load_data",
    "load_dataset",
    "megabytes_of",
    "source_of",
    "to_download",
]

DATASETS: dict[str, DataSource] = {
    "digits": DIGITS,
    "emoji": EMOJI,
    "fonts": FONTS,
    "annotations": ANNOTATIONS,
    "fashion": FASHION,
    "wordnet": WORDNET,
}
FORMS = ("hf:OWNER/NAME", "hf:DIR", "folder:DIR", "csv:FILE", "parquet:FILE")
"""What else a data set's name may be."""


def load_data(data: Data) -> Dataset:
    """Return what a ``data`` section names; see load_dataset."""
    return load_dataset(data.name, data.domains, hub=data.hub, own=data.own, options=data.options)


def load_dataset(
    name: str,
    domains: tuple[str, ...] | None = None,
    cache: Path | None = None,
    hub: Hub | None = None,
    own: Own | None = None,
    options: FreeOptions | None = None,
) -> Dataset:
    """Return a data set, or these domains of it in this order, preparing what is not cached.

    A name that begins with ``hf:`` is read as ``hub`` says, own data as ``own`` does, and
    ``MODULE:NAME`` gets the ``options``. A single domain stays memory-mapped, several are joined
    in memory. Raises UserError if the name, a domain or an option is unknown or a cached file is
    damaged, and UnavailableError if the data cannot be had.
    """
    if name.startswith(PREFIX):
        with _unavailable():
            folders = hub_parts(name, hub or Hub(), data_root("hf", cache))
        every = [read_part(folder) for folder in folders]
        return _traced(name, every, chosen_parts(name, domains, every))
    if kind_of(name):
        own = own or Own()
        return _own(name, domains, own, own_parts(name, own, data_root("own", cache)))
    source = source_of(name)
    chosen_options = checked_options(source.options, options, "data.options", name)
    root = _root(name, source, chosen_options, cache)
    if source.load is not None:
        with _unavailable():
            every = loaded_parts(name, source, chosen_options, root)
        return _own(name, domains, Own(), every)
    chosen = _chosen(name, domains, source)
    missing = tuple(domain for domain in chosen if not (root / domain).is_dir())
    if missing:
        with _unavailable():
            _prepare(name, source, missing, root)
    return _join(name, [read_part(root / domain) for domain in chosen])


def source_of(name: str, field: str = "data.name") -> DataSource:
    """Return what is known of a data set: one of ``DATASETS``, or ``MODULE:NAME``.

    Raises UserError, naming the config's ``field``, if there is none of this name.
    """
    return entry_of(DATASETS, name, field, DataSource, FORMS)


def check_data(data: Data) -> None:
    """Raise UserError if there is no such ``MODULE:NAME``, or it does not take its options."""
    if is_module(data.name):
        checked_options(source_of(data.name).options, data.options, "data.options", data.name)


def megabytes_of(name: str) -> float:
    """Return the approximate size of what a data set downloads; 0 where that is not known."""
    return source_of(name).megabytes if name in DATASETS or is_module(name) else 0.0


def to_download(data: Data, cache: Path | None = None) -> tuple[str, ...]:
    """Return the domains, or the revision, that preparing these data would have to download."""
    if data.name.startswith(PREFIX):
        revision = data.hub.revision or "newest revision"
        return (revision,) if must_ask_hub(data.name, data.hub, data_root("hf", cache)) else ()
    if kind_of(data.name):
        return ()
    source = source_of(data.name)
    options = checked_options(source.options, data.options, "data.options", data.name)
    root = _root(data.name, source, options, cache)
    if not source.megabytes:
        return ()
    if source.load is not None:
        return () if root.is_dir() else ("all",)
    return tuple(d for d in _chosen(data.name, data.domains, source) if not (root / d).is_dir())


def _root(name: str, source: DataSource, options: Any, cache: Path | None) -> Path:
    """Return the folder of a data set's parts: of a module's, one for each way to set it."""
    if not is_module(name):
        return data_root(name, cache)
    return source_folder(name, source, options, data_root("modules", cache))


def _own(
    name: str, domains: tuple[str, ...] | None, own: Own, every: list[tuple[Part, str]]
) -> Dataset:
    dataset = _traced(title_of(name), every, chosen_parts(name, domains, every))
    chosen = [part.origin for part, _ in chosen_parts(name, domains, every) if part.origin]
    tasks = tuple(task for origin in chosen for task in origin.tasks)
    numbers, names = numbered(tasks, own) if tasks else (None, ())
    return replace(dataset, tasks=numbers, task_names=names)


def _traced(name: str, every: list[tuple[Part, str]], chosen: list[tuple[Part, str]]) -> Dataset:
    """Join parts, with where their items stand and what of all parts could not be used."""
    origins = [part.origin for part, _ in chosen if part.origin is not None]
    told = [part.origin for part, _ in every if part.origin is not None]
    return replace(
        _join(name, chosen),
        places=tuple(place for origin in origins for place in origin.places),
        broken=tuple(line for origin in told for line in origin.broken),
        small=tuple(line for origin in told for line in origin.small),
        notes=sum((origin.notes for origin in told), Notes()),
    )


def _chosen(name: str, domains: tuple[str, ...] | None, source: DataSource) -> tuple[str, ...]:
    known = source.domains
    if domains is None:
        return known
    for domain in domains:
        if domain not in known:
            raise UserError(
                f"data.domains: {name} has the domains {', '.join(known)}, found {domain!r}"
            )
    if not domains or len(set(domains)) < len(domains):
        raise UserError(
            f"data.domains: must name each domain once and at least one, found {list(domains)}"
        )
    return domains


@contextmanager
def _unavailable() -> Iterator[None]:
    """Mark a UserError as one of data that cannot be had."""
    try:
        yield
    except UserError as error:
        raise UnavailableError(str(error)) from error


def _prepare(name: str, source: DataSource, missing: tuple[str, ...], root: Path) -> None:
    # the workspace lies beside the result, since a system's temporary folder may be tiny
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".workspace-", dir=root) as workspace:
            for part in _parts(name, source, missing, Path(workspace)):
                write_part(root / part.domain, part)
                verify_part(root / part.domain)


def _parts(
    name: str, source: DataSource, missing: tuple[str, ...], workspace: Path
) -> Iterator[Part]:
    if is_module(name):
        return checked_parts(name, source, missing, workspace)
    assert source.parts is not None  # ours are had domain by domain
    return source.parts(missing, workspace)


def _join(name: str, stored: list[tuple[Part, str]]) -> Dataset:
    parts = [part for part, _ in stored]
    first = parts[0]
    if any(part.classes != first.classes for part in parts):
        raise UserError(f"{name}: its cached domains differ in their classes; delete its cache")
    lengths = [len(part.labels) for part in parts]
    items, inputs = _join_items(parts)
    return Dataset(
        name=name,
        modality="text" if isinstance(items, tuple) else "image",
        items=items,
        inputs=inputs,
        labels=_joined([part.labels for part in parts]),
        domains=np.repeat(np.arange(len(parts), dtype=np.int64), lengths),
        groups=_joined([part.groups for part in parts]),
        classes=first.classes,
        domain_names=tuple(part.domain for part in parts),
        fingerprint=content_fingerprint([name, [fingerprint for _, fingerprint in stored]]),
        licences=tuple(dict.fromkeys(line for part in parts for line in part.licences)),
        split=_join_splits(parts),
    )


def _join_splits(parts: list[Part]) -> NDArray[np.int8] | None:
    splits = [part.split for part in parts if part.split is not None]
    return _joined(splits) if len(splits) == len(parts) else None


def _join_items(
    parts: list[Part],
) -> tuple[Images | Texts, NDArray[np.uint8] | NDArray[np.uint16]]:
    inputs = _joined([part.inputs for part in parts])
    if all(part.items is part.inputs for part in parts):
        return inputs, inputs
    if isinstance(parts[0].items, tuple):
        return tuple(text for part in parts for text in part.items), inputs
    return _joined([part.items for part in parts]), inputs


def _joined(arrays: list[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
