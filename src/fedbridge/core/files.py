"""Files and folders that are whole or not there, their names, and how those of others are read.

Whatever is written gets its name only when all of it is there: a process that is killed meanwhile
leaves what was there before, and beside it a draft, which is not mistaken for the thing itself.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedbridge.core.errors import UserError

PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY)
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
    with writing(path), written(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def written(path: Path, shared: bool = False, synced: bool = False) -> Iterator[Path]:
    """Yield a draft to write, which takes the place of the file ``path`` if the block succeeds.

    ``shared`` is for a place where other processes may write the same file at the same time, as
    in a cache: every one has a draft of its own, and the last one counts. ``synced`` is for a
    file of which no checksum is kept: it is on the disk before it gets its name, since a power
    cut could leave zeros otherwise. Raises OSError where the system refuses, see ``writing``.
    """
    draft = _draft_of(path, shared)
    try:
        yield draft
        if synced:
            with draft.open("rb") as file:
                os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink()  # half a file only takes up space


@contextmanager
def written_folder(folder: Path, shared: bool = False) -> Iterator[Path]:
    """Yield an empty draft to fill, which takes the place of ``folder`` if the block succeeds.

    What is there already is replaced; where it is ``shared``, as in a cache, it stays, since what
    another process has put there meanwhile is as good as ours. Raises OSError where the system
    refuses, see ``writing``.
    """
    folder = folder.resolve()  # a link stays a link, to what is new
    recover(folder)
    draft = _draft_of(folder, shared)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        _put(draft, folder, shared)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def recover(folder: Path) -> None:
    """Bring back what was in a folder if a process was killed while it replaced it.

    No system call that Python has lets one folder take the place of another which is not empty.
    So for a moment neither has the name; whoever reads or writes the folder calls this first.
    """
    folder = folder.resolve()
    with suppress(OSError):  # nothing was interrupted, or another process was faster
        if not folder.exists():
            _former_of(folder).rename(folder)


def _put(draft: Path, folder: Path, shared: bool) -> None:
    while True:
        try:
            draft.rename(folder)
            break
        except OSError as error:
            if error.errno not in OCCUPIED:
                raise
            if shared:
                return
        shutil.rmtree(_former_of(folder), ignore_errors=True)
        folder.rename(_former_of(folder))  # a reader may bring it back at once: then once more
    shutil.rmtree(_former_of(folder), ignore_errors=True)


def _draft_of(path: Path, shared: bool) -> Path:
    mark = f".{secrets.token_hex(8)}" if shared else ""
    return path.with_name(path.name + mark + PARTIAL)


def _former_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".former" + PARTIAL)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into a UserError that names the path."""
    try:
        yield
    except Exception as error:
        reason = getattr(error, "errno", None) or 0
        # safetensors reports a full disk in words only
        if reason in FULL or "No space left on device" in str(error):
            raise UserError(
                f"{path}: cannot be written: disk full; earlier files are intact. Free "
                f"some space, then continue a run with fedbridge resume, a deployment's "
                f"with its server's run.sh"
            ) from error
        if reason in REFUSED or _is_about(error, path):
            raise UserError(f"{path}: cannot be written: {os.strerror(reason)}") from error
        raise


def _is_about(error: Exception, path: Path) -> bool:
    """Return whether the system complains of this very path, or of its draft."""
    name = error.filename if isinstance(error, OSError) else None
    return isinstance(name, str | os.PathLike) and Path(name) in (path, _draft_of(path, False))
