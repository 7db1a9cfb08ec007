"""Configs as files: read, overridden, validated, written; errors name the field and the rule."""

import difflib
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, get_args

import tomli_w
from pydantic import ValidationError

from fedbridge.config.experiment import DEFAULT_NAMES, Config
from fedbridge.config.fusions import Fusion
from fedbridge.config.learners import Learner
from fedbridge.config.own import TABLES, kind_of, placed
from fedbridge.errors import UserError
from fedbridge.files import read_words, require_shallow, too_deep

LARGEST = 4 * 2**20
"""Most bytes of a file of settings."""
TOLD = 20
"""Most faults of a file that are told."""
LONGEST = 200
"""Most letters of a value that are shown."""
OPTIONS = {
    (part, options.model_fields["name"].default): options
    for part, union in (("learner", Learner), ("fusion", Fusion))
    for options in get_args(get_args(union)[0])
}
"""The section of every learner's and every fusion's options, by part and name."""


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a TOML file and ``a.b=value`` overrides; raise UserError naming file, field and rule.

    A file may begin with ``extends = "other.toml"``, relative to itself, and state only what
    differs.
    """
    tree = read_tree(path)
    for text in overrides or []:
        tree = merged(tree, _override(text))
    return parse_config(tree, str(path))


def read_tree(path: Path) -> dict[str, Any]:
    """Return what a TOML file states, with all that it extends; raise UserError if unreadable."""
    return _read(path, ())


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """Return what stands in a TOML file; raise UserError if this ``kind`` of file is unreadable."""
    try:
        text = read_words(path, f"{kind} file", LARGEST)
    except UserError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise UserError(f"{error}{similar(path)}") from error
        raise
    return parse_toml(text, str(path))


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return what a text states; raise UserError naming its ``source`` if it is no TOML."""
    try:
        tree = tomllib.loads(text)
    except RecursionError as error:
        raise UserError(f"{source}: {too_deep()}") from error
    except (ValueError, MemoryError) as error:  # numbers of thousands of digits among them
        raise UserError(f"{source}: not valid TOML: {error}") from error
    require_shallow(tree, source)
    return tree


def similar(path: Path) -> str:
    """Return a question after what lies there under a similar name; empty if nothing does."""
    there = next(parent for parent in path.parents if parent.is_dir())
    missing = path.relative_to(there).parts[0]
    try:
        close = difflib.get_close_matches(missing, os.listdir(there), n=1)
    except OSError:
        return ""
    return f"; did you mean {str(there / close[0])!r}?" if close else ""


def _read(path: Path, via: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in via:
        raise UserError(f"{path}: extends itself through {via[-1]}")
    tree = read_toml(path, "config")
    _place(tree, path.parent)
    base = tree.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise UserError(f"{path}: extends must be the name of a file, found {base!r}")
    return merged(_read(path.parent / base, (*via, path.resolve())), tree)


def _place(tree: dict[str, Any], folder: Path) -> None:
    """Let the path of own data count from the folder of the file that names it."""
    data = tree.get("data")
    if isinstance(data, dict):
        for key in ("name", "public"):
            if isinstance(data.get(key), str):
                data[key] = placed(data[key], folder)


def merged(base: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    """Lay a tree over a base; another learner or fusion replaces the base's with its options.

    So do other data, unless both are tables of one's own, which are read by the same settings.
    """
    result = dict(base)
    for key, value in tree.items():
        old = result.get(key)
        result[key] = value
        if isinstance(old, dict) and isinstance(value, dict):
            before = old.get("name", DEFAULT_NAMES.get(key))
            after = value.get("name", before)
            if after == before or (_is_table(before) and _is_table(after)):
                result[key] = merged(old, value)
    return result


def _is_table(name: object) -> bool:
    return isinstance(name, str) and kind_of(name) in TABLES


def parse_config(tree: dict[str, Any], source: str) -> Config:
    """Validate a tree of settings; ``source`` names where it came from in errors."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{source}: {listed(_explain, error)}") from error


def listed(explain: Callable[[dict[str, Any]], str], error: ValidationError) -> str:
    """Return what ``explain`` says of each fault that was found, of many the first ones."""
    items = error.errors()
    lines = [explain(dict(item)) for item in items[:TOLD]]
    return "; ".join([*lines, *([f"and {more} more"] if (more := len(items) - TOLD) > 0 else [])])


def found_value(value: object) -> str:
    """Return a value as an error shows it: a long one is cut off."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def dump_config(config: Config) -> str:
    """Return the resolved config as TOML, every default written out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _explain(item: dict[str, Any]) -> str:
    parts = [str(part) for part in item["loc"]]
    # the tag of a union ("learner.smcf.memory") is not part of the user's key
    key = ".".join(p for i, p in enumerate(parts) if not (i == 1 and parts[0] in DEFAULT_NAMES))
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key{_suggestion(parts)}"
    if item["type"] == "union_tag_invalid":
        return f"{key}.name: {_choice(parts[0], item['ctx']['tag'])}"
    message = str(item["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    if isinstance(item["input"], dict) and message.startswith(f"{key}."):
        return message  # a rule about several fields, which names them itself
    return f"{key}: {message}, found {found_value(item['input'])}" if key else message


def _choice(part: str, found: str) -> str:
    """Return the rule that a learner or a fusion that is not there breaks."""
    known = [name for owner, name in OPTIONS if owner == part]
    close = difflib.get_close_matches(found, known, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"must be one of {', '.join(known)}, found {found!r}{meant}"


def _suggestion(parts: list[str]) -> str:
    section: Any = Config
    for part in parts[:-1]:
        if (parts[0], part) in OPTIONS:
            section = OPTIONS[parts[0], part]
        elif part in section.model_fields and part not in DEFAULT_NAMES:
            section = section.model_fields[part].annotation
    known = sorted(section.model_fields)
    within = [
        f"{name}.{parts[-1]}"
        for name, field in section.model_fields.items()
        if parts[-1] in getattr(field.annotation, "model_fields", ())
    ]
    if within:  # it is known, but stands in another section
        return f" (did you mean {' or '.join(map(repr, within))}?)"
    close = difflib.get_close_matches(parts[-1], known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"


def _override(text: str) -> dict[str, Any]:
    """Return the tree of one ``a.b=value``; a bare word is a string: ``learner.name=smcf``."""
    key, sep, value_text = text.partition("=")
    if not sep or not key:
        raise UserError(f"--set {text}: must have the form a.b=value")
    try:
        tree: Any = tomllib.loads(f"v = {value_text}")["v"]
    except tomllib.TOMLDecodeError:
        tree = value_text
    except RecursionError as error:
        raise UserError(f"--set {shortened(text)}: {too_deep()}") from error
    for section in reversed(key.split(".")):
        tree = {section: tree}
    require_shallow(tree, f"--set {shortened(text)}")
    return dict(tree)
