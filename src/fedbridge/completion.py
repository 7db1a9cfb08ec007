"""What the Tab key offers on the command line: runs, configs, settings and their values."""

import os
import shlex
from collections.abc import Iterator, MutableMapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

VARIABLE = "_FEDBRIDGE_COMPLETE"
"""Environment variable by which a shell asks for completions."""
KEY = "_FEDBRIDGE_COMPLETE_KEY"
"""Environment variable that holds the setting whose value is asked for."""
DEPTH = 3
MOST = 5000  # entries of folders that are looked at; Tab must answer at once


def run_folders(incomplete: str) -> list[str]:
    """Return the folders of runs whose path begins with what was typed."""
    found = [path for path in _near(incomplete) if path.name == "environment.json"]
    return _beginning(incomplete, [path.parent for path in found])


def config_files(incomplete: str) -> list[str]:
    """Return the TOML files whose path begins with what was typed, but those of runs."""
    found = [path for path in _near(incomplete) if path.suffix == ".toml"]
    runs = set(run_folders(incomplete))
    own = [p for p in found if str(p.parent) not in runs and p.name != "pyproject.toml"]
    return _beginning(incomplete, own)


def lists(incomplete: str) -> list[str]:
    """Return what can be listed."""
    from fedbridge.listing import LISTS

    return [name for name in LISTS if name.startswith(incomplete)]


def overrides(incomplete: str) -> list[tuple[str, str]]:
    """Return settings as ``a.b=``, or with their values once a setting is typed, and their help."""
    known = settings()
    if key := os.environ.get(KEY):
        values, text = known.get(key, ((), ""))
        return [(value, text) for value in values if value.startswith(incomplete)]
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return [(f"{k}=", text) for k, (_, text) in known.items() if k.startswith(incomplete)]
    values, text = known.get(key, ((), ""))
    return [(f"{key}={v}", text) for v in values if f"{key}={v}".startswith(incomplete)]


def settings() -> dict[str, tuple[tuple[str, ...], str]]:
    """Return every setting by its key, with the values that can be named and what it is."""
    from fedbridge.config import Config
    from fedbridge.config.files import OPTIONS

    found = dict(_settings("", Config))
    for (part, _), options in OPTIONS.items():
        for key, setting in _settings(f"{part}.", options):
            found.setdefault(key, setting)
    return found | {key: (names, found[key][1]) for key, names in _registered().items()}


def join_settings(environ: MutableMapping[str, str]) -> None:
    """Put ``a.b``, ``=`` and ``value`` together again, which bash takes for three words.

    Of the word that is being typed bash asks for what stands behind the ``=`` alone; the key is
    then left in the environment.
    """
    place = int(environ.get("COMP_CWORD", "0"))
    words = _split(environ.get("COMP_WORDS", ""))[: place + 1]
    words += [""] * (place + 1 - len(words))
    joined: list[str] = []
    for word in words:
        if joined and (word == "=" or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    key, equals, value = joined[-1].partition("=")
    if equals:
        environ[KEY], joined[-1] = key, value
    environ["COMP_WORDS"], environ["COMP_CWORD"] = shlex.join(joined), str(len(joined) - 1)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quote that is not closed yet
        return line.split()


def _near(incomplete: str) -> Iterator[Path]:
    """Yield files in and a little below the folder that is being typed."""
    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    return islice(_files(folder, DEPTH), MOST)


def _files(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        if path.name.startswith((".", "__")):
            continue
        if path.is_dir():
            if depth > 1:
                yield from _files(path, depth - 1)
        else:
            yield path


def _beginning(incomplete: str, paths: list[Path]) -> list[str]:
    return [str(path) for path in paths if str(path).startswith(incomplete.removeprefix("./"))]


def _settings(prefix: str, section: Any) -> Iterator[tuple[str, tuple[tuple[str, ...], str]]]:
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from _settings(f"{prefix}{name}.", field.annotation)
        elif field.discriminator is None:
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
    from fedbridge.config.files import OPTIONS
    from fedbridge.data import DATASETS
    from fedbridge.data.scenario import SCENARIOS
    from fedbridge.models import FOUNDATION_MODELS, FOUNDATION_SOURCES

    named = {part: tuple(n for p, n in OPTIONS if p == part) for part in ("learner", "fusion")}
    own = tuple(f"{source}:" for source in FOUNDATION_SOURCES)
    return {
        "data.name": (*DATASETS, "hf:", "site"),
        "data.public": ("same", "none", *DATASETS),
        "scenario.kind": tuple(SCENARIOS),
        "large.model": (*FOUNDATION_MODELS, *own),
        "learner.name": named["learner"],
        "fusion.name": named["fusion"],
    }
