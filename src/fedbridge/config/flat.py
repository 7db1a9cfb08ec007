"""A config as one level of ``a.b.c`` keys, to be compared and shown."""

from collections.abc import Iterator, Mapping
from typing import Any

from fedbridge.config.section import Section


def settings_of(config: Section) -> dict[str, Any]:
    """Return the settings as ``a.b.c`` keys, without the seed and what no number depends on."""
    tree = config.model_dump(mode="json", exclude={"seed", "engine", "track"})
    return dict(_flat(tree))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
