"""Folders with a manifest, which are checked when they are read.

A folder's manifest says what kind of thing it holds, in which form, and the size and sha256 of
every other file in it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedbridge.core.errors import UserError
from fedbridge.core.files import (
    json_text,
    read_json,
    recover,
    write_text,
    writing,
    written_folder,
)

MANIFEST = "manifest.json"
FORMAT = 1


@contextmanager
def saving(folder: Path, kind: str, about: dict[str, Any]) -> Iterator[Path]:
    """Yield a folder to write into, which takes its place only if the block succeeds.

    ``about`` goes into the manifest. What was saved there before as the same kind is replaced;
    Raises UserError if anything else is in the folder, or the system refuses.
    """
    recover(folder)
    require_replaceable(folder, kind)
    with writing(folder), written_folder(folder) as draft:
        yield draft
        listed = {"format": FORMAT, "kind": kind, "files": digests(draft), "about": about}
        write_text(draft / MANIFEST, json_text(listed))


def require_replaceable(folder: Path, kind: str) -> None:
    """Raise UserError if a folder holds anything but what was saved as this kind."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or saved_kind(folder) != kind:
        raise UserError(
            f"{folder}: must be a new or empty folder, or one where a {kind} was saved before; "
            f"this one is in use"
        )


def saved_kind(folder: Path) -> str | None:
    """Return what kind of thing was saved in a folder, None if nothing was."""
    recover(folder)
    try:
        return str(read_json(folder / MANIFEST, "manifest")["kind"])
    except (UserError, KeyError):
        return None


def opened(folder: Path, kind: str) -> dict[str, Any]:
    """Return what was said about the thing in a folder; every byte of it is checked.

    Raises UserError naming the file if it is of another kind, incomplete or damaged.
    """
    recover(folder)
    path = folder / MANIFEST
    try:
        manifest = read_json(path, f"manifest of a {kind}")
        found, files = manifest["kind"], dict(manifest["files"])
        number, about = manifest["format"], dict(manifest["about"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: must be the manifest of a {kind}, is damaged") from error
    if found != kind or number != FORMAT:
        raise UserError(
            f"{path}: must be of kind {kind!r} and format {FORMAT}, found {found!r} and {number!r}"
        )
    there = digests(folder)
    for name, digest in files.items():
        if there.get(name) != digest:
            fault = "has changed" if name in there else "is missing"
            raise UserError(f"{folder / name}: {fault} since this {kind} was saved")
    return about


def digests(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of every file in a folder but its manifest."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            name = path.relative_to(folder).as_posix()
            found[name] = {"bytes": path.stat().st_size, "sha256": sha256}
    return found
