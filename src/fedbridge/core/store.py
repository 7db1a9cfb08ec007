"""Prepared data on disk: one folder per domain, checksummed, its manifest written last."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError, model_validator

from fedbridge.core.errors import UserError
from fedbridge.core.files import read_json, written_folder
from fedbridge.core.notes import NOTHING, Notes
from fedbridge.core.packages import file_sha256

FORMAT = 1
MANIFEST = "manifest.json"
ALWAYS_HASHED = 1 << 20  # bytes; larger files are hashed once, when they are written

Images = NDArray[np.uint8]
Texts = tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """What own files or arrays say of each of N items besides its content and class."""

    places: Texts
    """Where it stands."""
    tasks: Texts = ()
    """Its task or date; empty where the data do not say."""
    broken: Texts = ()
    """What could not be used, each as a line."""
    small: Texts = ()
    """Classes that were left out since they have few items, each as a line."""
    notes: Notes = NOTHING
    """What was noticed while they were read."""


@dataclass(frozen=True)
class Part:
    """One domain of a data set; arrays as in :class:`~fedbridge.data.dataset.Dataset`.

    If ``items`` and ``inputs`` are the same object, they are stored once.
    """

    domain: str
    items: Images | Texts
    inputs: Images | NDArray[np.uint16]
    labels: NDArray[np.int64]  # (N,)
    groups: NDArray[np.int64]  # (N,)
    classes: tuple[str, ...]
    licences: tuple[str, ...]
    sources: tuple[str, ...]
    split: NDArray[np.int8] | None = None  # (N,)
    origin: Origin | None = None


class StoredFile(BaseModel):
    """Size in bytes and sha256 of one stored file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: NonNegativeInt
    sha256: str


FileName = Literal[
    "items.npy", "items.json", "inputs.npy", "labels.npy", "groups.npy", "split.npy", "origin.json"
]


class Manifest(BaseModel):
    """What a part's folder must hold; ``fingerprint`` covers everything else in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    domain: str
    classes: tuple[str, ...]
    licences: tuple[str, ...]
    sources: tuple[str, ...]
    files: dict[FileName, StoredFile]
    fingerprint: str

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if missing := {"inputs.npy", "labels.npy", "groups.npy"} - set(self.files):
            raise ValueError(f"files must list {sorted(missing)}")
        if self.fingerprint != content_fingerprint(self.model_dump(exclude={"fingerprint"})):
            raise ValueError("fingerprint must match the rest of the manifest")
        return self


def content_fingerprint(tree: Any) -> str:
    """Return the sha256 of a tree of plain values, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def cache_folder() -> Path:
    """Return ``$FEDBRIDGE_CACHE``, else ``fedbridge`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("FEDBRIDGE_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fedbridge"


def data_root(name: str, cache: Path | None = None) -> Path:
    """Return the folder of a data set's prepared parts."""
    return (cache or cache_folder()) / f"data-v{FORMAT}" / name


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into a UserError that names it."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        rule = "the disk is full; free some space" if full else f"cannot store here: {error}"
        advice = "" if full else "; set FEDBRIDGE_CACHE to another folder"
        raise UserError(f"{folder}: {rule}{advice} and run again") from error


def write_part(folder: Path, part: Part) -> None:
    """Store ``part`` as ``folder``, at once or not at all; one that is already there stays.

    Raises UserError if the disk is full or the folder cannot be written.
    """
    with storage_errors(folder), written_folder(folder, shared=True) as draft:
        _fill(draft, part)


def write_parts(folder: Path, make: Callable[[Path], Iterable[Part]]) -> None:
    """Store parts as ``folder/0000`` and on, all or none; one that is already there stays.

    ``make`` gets an empty folder to work in, which lies beside the result, since a system's
    temporary folder may be tiny. Raises UserError if the disk is full or cannot be written.
    """
    with storage_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            written_folder(folder, shared=True) as draft,
            tempfile.TemporaryDirectory(prefix=".workspace-", dir=folder.parent) as workspace,
        ):
            for number, part in enumerate(make(Path(workspace))):
                write_part(draft / f"{number:04}", part)
                # read back at once: large files are not hashed again when they are opened
                verify_part(draft / f"{number:04}")


def read_part(folder: Path) -> tuple[Part, str]:
    """Open a stored part, its arrays memory-mapped, and return it with its fingerprint.

    Sizes and the checksums of small files are checked. Raises UserError naming what is damaged.
    """
    manifest = _read_manifest(folder)
    _check(folder, manifest, ALWAYS_HASHED)
    inputs = _open_array(folder / "inputs.npy")
    part = Part(
        domain=manifest.domain,
        items=_open_items(folder, manifest, inputs),
        inputs=inputs,
        labels=_open_array(folder / "labels.npy"),
        groups=_open_array(folder / "groups.npy"),
        classes=manifest.classes,
        licences=manifest.licences,
        sources=manifest.sources,
        split=_open_array(folder / "split.npy") if "split.npy" in manifest.files else None,
        origin=_open_origin(folder) if "origin.json" in manifest.files else None,
    )
    return part, manifest.fingerprint


def at_rows(values: Any, rows: NDArray[np.int64]) -> Any:
    """Return some of the items; as they lie on disk where they are neighbours."""
    # neighbours are a slice, which stays memory-mapped
    first, last = int(rows[0]), int(rows[-1]) + 1
    if last - first == len(rows) and not isinstance(values, list):
        return values[first:last]
    if isinstance(values, tuple | list):
        return tuple(values[row] for row in rows.tolist())
    return values[rows]


def verify_part(folder: Path) -> None:
    """Check every byte of a stored part; raise UserError naming the first damaged file."""
    _check(folder, _read_manifest(folder), None)


def _fill(draft: Path, part: Part) -> None:
    np.save(draft / "inputs.npy", part.inputs, allow_pickle=False)
    np.save(draft / "labels.npy", part.labels, allow_pickle=False)
    np.save(draft / "groups.npy", part.groups, allow_pickle=False)
    if part.split is not None:
        np.save(draft / "split.npy", part.split, allow_pickle=False)
    if part.origin is not None:
        told = {name: value for name, value in vars(part.origin).items() if name != "notes"}
        if part.origin.notes != NOTHING:
            told["notes"] = vars(part.origin.notes)
        _write_json(draft / "origin.json", told)
    if isinstance(part.items, tuple):
        _write_json(draft / "items.json", part.items)
    elif part.items is not part.inputs:
        np.save(draft / "items.npy", part.items, allow_pickle=False)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(draft.iterdir())
    }
    tree: dict[str, Any] = {
        "format": FORMAT,
        "domain": part.domain,
        "classes": part.classes,
        "licences": part.licences,
        "sources": part.sources,
        "files": files,
    }
    # over names, sizes and checksums: two folders with one fingerprint hold the same bytes
    tree["fingerprint"] = content_fingerprint(tree)
    text = json.dumps(tree, indent=1, ensure_ascii=False)
    (draft / MANIFEST).write_text(text, encoding="utf-8")


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        return Manifest.model_validate(read_json(path, "manifest"))
    except UserError as error:
        raise UserError(f"{error}; delete folder {folder} and run again") from error
    except ValidationError as error:
        raise _damaged(path, f"is damaged: {error.errors()[0]['msg']}") from error


def _check(folder: Path, manifest: Manifest, hash_up_to: int | None) -> None:
    """Compare files with the manifest; hash those of at most ``hash_up_to`` bytes (None: all)."""
    for name, stored in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise _damaged(path, "is missing")
        if (size := path.stat().st_size) != stored.bytes:
            raise _damaged(path, f"must have {stored.bytes} bytes, found {size}")
        if hash_up_to is not None and size > hash_up_to:
            continue
        if (digest := file_sha256(path)) != stored.sha256:
            raise _damaged(path, f"must have the sha256 {stored.sha256}, found {digest}")


def _open_array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _damaged(path, f"is not an array: {error}") from error
    return array


def _open_items(folder: Path, manifest: Manifest, inputs: NDArray[Any]) -> Images | Texts:
    if "items.json" in manifest.files:
        try:
            return tuple(json.loads((folder / "items.json").read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:
            raise _damaged(folder / "items.json", f"is damaged: {error}") from error
    return _open_array(folder / "items.npy") if "items.npy" in manifest.files else inputs


def _open_origin(folder: Path) -> Origin:
    tree = read_json(folder / "origin.json", "origin of the items")
    notes = Notes(**{key: tuple(lines) for key, lines in tree.pop("notes", {}).items()})
    return Origin(**{key: tuple(lines) for key, lines in tree.items()}, notes=notes)


def _write_json(path: Path, tree: Any) -> None:
    """Write piece by piece: as one text, a million items would be in memory twice."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(tree, file, ensure_ascii=False, indent=0)


def _damaged(path: Path, rule: str) -> UserError:
    return UserError(f"{path}: {rule}; delete folder {path.parent} and run again")
