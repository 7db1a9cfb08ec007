"""All settings that there are, those of every method included, with the values that have names."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from fedbridge.data import DATASETS
from fedbridge.data.streams.scenario import SCENARIOS
from fedbridge.methods.config import Config
from fedbridge.methods.registry import KEYS, METHODS
from fedbridge.models import FOUNDATION_MODELS, FOUNDATION_SOURCES


def every_setting() -> dict[str, tuple[tuple[str, ...], str]]:
    """Return every setting by its key, with the values that can be named and what it is."""
    found = dict(_settings("", Config))
    for part, methods in METHODS.items():
        for method in methods.values():
            for key, setting in _settings(f"{part}.", method.options):
                found.setdefault(key, setting)
    return found | {key: (names, found[key][1]) for key, names in _registered().items()}


def _settings(prefix: str, section: Any) -> Iterator[tuple[str, tuple[tuple[str, ...], str]]]:
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from _settings(f"{prefix}{name}.", field.annotation)
        elif name not in METHODS:
            text = " ".join((field.description or "").replace("``", "").split())
            yield f"{prefix}{name}", (_choices(field.annotation), text.partition(";")[0])


def _choices(annotation: Any) -> tuple[str, ...]:
    """Return the words of a Literal, also of one among others; nothing for numbers and texts."""
    if annotation is bool:
        return ("true", "false")
    if get_origin(annotation) is Literal:
        return tuple(str(value) for value in get_args(annotation))
    return tuple(word for one in get_args(annotation) for word in _choices(one))


def _registered() -> dict[str, tuple[str, ...]]:
    own = tuple(f"{source}:" for source in FOUNDATION_SOURCES)
    return {
        "data.name": (*DATASETS, "hf:", "site"),
        "data.public": ("same", "none", *DATASETS),
        "scenario.kind": tuple(SCENARIOS),
        "large.model": (*FOUNDATION_MODELS, *own),
        **{f"{part}.{KEYS[part]}": tuple(methods) for part, methods in METHODS.items()},
    }
