"""Users' own entries, named ``MODULE:NAME``: models, methods, data, measures."""

import difflib
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fedbridge.core.errors import UserError

T = TypeVar("T")
FORM = "MODULE:NAME"
"""How a config names what is somebody's own."""


def look_in(folder: Path) -> None:
    """Append a folder to the places where Python looks for modules."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # at the end: no file there takes the place of a package


def is_own(name: str) -> bool:
    """Return whether a name has the form of a user's own entry, ``MODULE:NAME``."""
    module, colon, wanted = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), wanted))


def entry_of(
    registry: Mapping[str, T], name: str, field: str, kind: type[T], forms: Iterable[str] = ()
) -> T:
    """Return the entry of this name: one of a registry, or somebody's own ``MODULE:NAME``.

    ``forms`` are what else a name may be, for the error. Raises UserError, with the name that may
    be meant, if there is none, or as ``entry_at`` does.
    """
    if name in registry:
        return registry[name]
    if is_own(name):
        found: T = entry_at(name, name, field, kind)
        return found
    known = (*registry, *forms, FORM)
    close = difflib.get_close_matches(name, known, n=1)
    raise UserError(
        f"{field}: must be one of {', '.join(known)}, found {name!r}"
        + (f"; did you mean {close[0]!r}?" if close else "")
    )


def entry_at(where: str, name: str, field: str, kind: type[T] | None = None) -> Any:
    """Return what ``MODULE:NAME`` names; ``name`` is how the config's ``field`` writes it.

    The module may lie in the folder in which the command was started. Raises UserError if there
    is no such module or name, the module cannot be imported, or the object is not of the
    ``kind`` that is wanted; without one, a function is.
    """
    look_in(Path.cwd())
    path, _, wanted = where.partition(":")
    try:
        with foreign_errors(name, field):
            module = importlib.import_module(path)
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{path}.".startswith(f"{cause.name}."):
            raise UserError(
                f"{field}: {name} cannot be used: there is no module {cause.name!r} in "
                f"{Path.cwd()} or where Python looks for modules"
            ) from error
        raise
    found = getattr(module, wanted, None)
    if found is None or (kind is None and not callable(found)):
        what = "function" if kind is None else kind.__name__
        close = difflib.get_close_matches(wanted, dir(module), n=1)
        raise UserError(
            f"{field}: {name} cannot be used: the module {path!r} has no {what} {wanted!r}"
            + (f" (did you mean {close[0]!r}?)" if close else "")
        )
    if kind is not None and not isinstance(found, kind):
        raise UserError(
            f"{field}: {name} cannot be used: must be a {kind.__name__}, found {_described(found)}"
        )
    return found


def _described(found: object) -> str:
    """Return what something is, as an error may say it."""
    return f"the class {found.__name__}" if isinstance(found, type) else type(found).__name__


@contextmanager
def foreign_errors(name: str, field: str = "large.model") -> Iterator[None]:
    """Turn any exception of a foreign file or function into a UserError with its first line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a script may well end the process
        lines = str(error).strip().splitlines() or [""]
        line = " ".join(each.strip() for each in lines[: 1 + lines[0].endswith(":")])
        raise UserError(
            f"{field}: {name} cannot be used: {type(error).__name__}: {line}"
        ) from error
