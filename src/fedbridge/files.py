"""Files that are whole or not there: written under a temporary name, then renamed."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedbridge.errors import UserError

PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def json_text(value: dict[str, Any]) -> str:
    """Return an object as JSON; numbers must be finite."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Replace a file; raise UserError where the system refuses."""
    partial = path.with_name(path.name + PARTIAL)
    with writing(path):
        try:
            partial.write_text(text, encoding="utf-8", newline="\n")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)  # half a file only takes up space


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into a UserError that names the path."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "errno", None)
        # safetensors reports a full disk in words only
        if reason in FULL or "No space left on device" in str(error):
            raise UserError(
                f"{path}: cannot be written: disk full; what was written before is whole. Free "
                f"some space; a run that has begun goes on with fedbridge resume, a deployment's "
                f"with its server's run.sh"
            ) from error
        if reason in REFUSED:
            raise UserError(f"{path}: cannot be written: {os.strerror(reason)}") from error
        raise
