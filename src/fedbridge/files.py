"""Files that are whole or not there, what they are called, and how those of others are read."""

import errno
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedbridge.errors import UserError

PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
LARGEST = 256 * 2**20
"""Most bytes of a file that is read whole."""
DEEPEST = 64
"""Most levels of what stands in a file; nothing of ours has ten."""
PLAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9_-])?")
LEGIBLE = 40
"""Most letters of a name that a file's name repeats where it cannot be the name itself."""
DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin", "conout"]
    + [f"{port}{number}" for port in ("com", "lpt") for number in range(10)]
)
"""What no file of Windows may be called, whatever its ending."""
OURS = frozenset(
    [
        *("accuracy", "config", "embeddings", "environment", "evaluation", "exchange"),
        *("experiment", "fused", "fusion", "items", "large", "lock", "manifest", "server"),
        *("snapshots", "summary", "transport", "upload"),
    ]
)
"""What our own files are called, among which those of clients lie."""


def file_name(name: str) -> str:
    """Return what files and folders of a client, a domain or a task are called.

    No two names have the same, not even where a file system takes large for small letters. A name
    of small letters, digits, ``.``, ``_`` and ``-`` is kept; of any other as much as can be, with
    ``~`` and a digest behind it. It is never empty, a path, reserved, or longer than 100 bytes.
    """
    if PLAIN.fullmatch(name) and name.partition(".")[0] not in DEVICES | OURS:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    legible = re.sub("[^a-z0-9]+", "-", bare).strip("-")[:LEGIBLE].strip("-")
    return f"{legible or 'name'}~{digest}"


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """Return the object in a JSON file of this ``kind``, which errors name.

    Raises UserError naming the file if it cannot be read, is too large, is no UTF-8, no JSON, too
    deep, or no object.
    """
    text = read_words(path, kind)
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise UserError(f"{path}: {too_deep()}") from error
    except (ValueError, MemoryError) as error:
        raise UserError(f"{path}: this {kind} is damaged: Invalid JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: this {kind} must be an object, found {type(found).__name__}")
    require_shallow(found, str(path))
    return found


def read_words(path: Path, kind: str, most: int = LARGEST) -> str:
    """Return a file's text; raise UserError if it is unreadable, too large or no UTF-8."""
    try:
        size = path.stat().st_size
        if size > most:
            raise UserError(f"{path}: must have at most {most:,} bytes, found {size:,}")
        return path.read_bytes().decode("utf-8-sig")  # editors of Windows put a mark in front
    except OSError as error:
        raise UserError(f"{path}: cannot read this {kind}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: this {kind} must be UTF-8: {error}") from error


def require_shallow(tree: Any, what: str) -> None:
    """Raise UserError if lists and tables stand in each other more than DEEPEST deep."""
    level = [tree]
    for _ in range(DEEPEST + 1):
        inside = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for many in inside for one in many if isinstance(one, dict | list)]
        if not level:
            return
    raise UserError(f"{what}: {too_deep()}")


def too_deep() -> str:
    """Return the rule that nested brackets break."""
    return f"must be at most {DEEPEST} levels deep, found more"


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
