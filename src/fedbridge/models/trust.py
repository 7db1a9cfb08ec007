"""Whether a saved file may import a module here: only if its reader trusts it by name."""

from collections.abc import Collection, Iterable
from pathlib import Path

from fedbridge.core.errors import UserError
from fedbridge.core.legible import legible
from fedbridge.models import SMALL_SOURCES

CALLABLE = "callable:"


def require_trusted(
    path: Path,
    small: Iterable[str],
    large: str | None,
    trust: Collection[str],
    methods: Iterable[str] = (),
) -> None:
    """Raise UserError if something's module would be imported, and it is not trusted.

    ``small``, ``large`` and ``methods`` are models, and learners and the like that are somebody's
    own, as a config writes them; so are those in ``trust``, in full:
    ``["my_model:tiny", "callable:my_model:encode"]``. A module that is imported is code that runs.
    """
    functions = [name for name in small if ":" in name and name.partition(":")[0] not in OTHERS]
    if large is not None and large.startswith(CALLABLE):
        functions.append(large)
    functions += methods
    allowed = {trust} if isinstance(trust, str) else set(trust)
    for name in functions:
        if name not in allowed:
            told = legible(name)
            raise UserError(
                f"{path}: names {told!r}, of a module that would be imported, and so "
                f"run, from the current folder or wherever Python finds it; if you know whose it "
                f"is, allow it by name: trust=[{told!r}], or --trust {told} on the command line"
            )


OTHERS = frozenset(SMALL_SOURCES)
"""Prefixes of small models that name no function of the user's."""
