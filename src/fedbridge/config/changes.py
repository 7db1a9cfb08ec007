"""What a run was started with, beside what its settings say now."""

from collections.abc import Iterator
from typing import Any

from fedbridge.config.experiment import Config
from fedbridge.config.own import title_of

FREE = ("name", "track", "large.batch")
"""What may change while a run is stopped: no number depends on it."""
ENGINE = ("engine.kind", "engine.precision")
"""Of the engine these may not: clients' states lie where it keeps them, the FM computes in it."""
FILES = ("data.name", "data.public")
"""Own files may have moved; whether they are the same is seen by what is in them."""


def binding(config: Config) -> dict[str, Any]:
    """Return by key the settings that a run's numbers depend on, those that are unset left out."""
    tree = config.model_dump(mode="json", exclude_none=True)
    return {
        key: title_of(value) if key in FILES else value
        for key, value in _leaves(tree)
        if not _is_free(key)
    }


def changes(before: Config, now: Config) -> list[str]:
    """Return in words each setting that binds a run and has another value now."""
    old, new = binding(before), binding(now)
    return [
        f"{key}: {_told(old, key)} when it was started, {_told(new, key)} now"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]


def changes_since_summary(summary: dict[str, Any], now: Config) -> list[str]:
    """Return the same where only the summary of a run is known."""
    own = {
        "seed": now.seed,
        "tasks": now.scenario.slots,
        "large": now.large.model,
        "data": now.data.title,
    }
    if now.large.head == "none":
        own["large"] = "none"
    return [
        f"{key}: {summary[key]!r} when it was started, {value!r} now"
        for key, value in own.items()
        if summary.get(key) not in (None, value)
    ]


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_free(key: str) -> bool:
    if key.startswith("engine."):
        return key not in ENGINE
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def _told(settings: dict[str, Any], key: str) -> str:
    text = repr(settings[key]) if key in settings else "not set"
    return text if len(text) <= 80 else f"{text[:80]}..."
