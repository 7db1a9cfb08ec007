"""Whose key is whose: a folder with a file for each client, in which stands its key's node id.

A SuperLink gives every registered key a node id for good, and lets nobody speak for a node who has
not its key. So a name is bound to a key by what the server's operator wrote when registering it.
"""

from pathlib import Path

from fedbridge.core.errors import UserError


def owner(folder: Path, node: int) -> str | None:
    """Return the client whose key a node has, None if the key is unknown.

    Raises UserError naming the file if one cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: must be the folder in which register.sh keeps node ids")
    return next((f.name for f in sorted(folder.iterdir()) if _number_in(f) == node), None)


def impostor(folder: Path, node: int, name: str) -> list[str]:
    """Return in words why a node is not the client that it says it is, nothing if it is."""
    known = owner(folder, node)
    if known == name:
        return []
    whose = f"that of {known!r}" if known else "not registered"
    return [f"it must have the key of {name!r}, found that its key is {whose}"]


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except FileNotFoundError:  # revoked just now
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: must hold a node's id as register.sh writes it") from error
