"""What the Tab key offers on the command line: runs, configs, settings and their values."""

import json
import os
import shlex
from collections.abc import Iterator, MutableMapping
from itertools import islice
from pathlib import Path

VARIABLE = "_FEDBRIDGE_COMPLETE"
"""Environment variable by which a shell asks for completions."""
KEY = "_FEDBRIDGE_COMPLETE_KEY"
"""Environment variable that holds the setting whose value is asked for."""
SETTINGS = Path(__file__).with_name("settings.json")
"""What ``make reference`` has written of all settings: to read the code takes a second, and Tab
must answer at once."""
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
    from fedbridge.cli.listing import LISTS

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
    stored = json.loads(SETTINGS.read_text(encoding="utf-8"))
    return {key: (tuple(values), text) for key, (values, text) in stored.items()}


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
