"""Configs as files: read, overridden, validated, written; errors name the field and the rule."""

import difflib
import tomllib
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import tomli_w
from pydantic import ValidationError

from fedbridge.config.files import explained, found_value, read_toml
from fedbridge.config.own import TABLES, kind_of, placed
from fedbridge.core.entries import is_own
from fedbridge.core.errors import UserError
from fedbridge.core.files import require_shallow, too_deep
from fedbridge.methods.config import DEFAULT_NAMES, Config
from fedbridge.methods.registry import HEADS, KEYS, METHODS, method_of

RENAMED = {
    "training.rate": "training.lr",
    "fusion.rate": "fusion.lr",
    "fusion.large_rate": "fusion.large_lr",
    "large.probe_rate": "large.probe_lr",
    "large.tuning_rate": "large.tuning_lr",
    "large.least": "large.min_class_items",
    "large.own": "large.personal_weights",
    "large.absorb": "large.student_weight",
    "large.picks": "large.top_k",
    "small.warm_rate": "small.warm_lr",
    "scenario.amount": "scenario.data_fraction",
    "scenario.effort": "scenario.participation_rounds",
    "learner.ahead": "learner.teach_unseen",
    "data.own.least": "data.own.min_class_items",
    **{
        f"fusion.{name}": f"fusion.ablation.{name}"
        for name in ("order", "form", "compare", "classes", "mass", "statistics")
    },
    "fusion.sureness": "fusion.ablation.confidence",
    "fusion.surer": "fusion.ablation.only_if_more_confident",
}
"""What settings of earlier releases are called now, by what they were called."""


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
    Another head leaves aside what only the base's head can be told.
    """
    result = dict(base)
    for key, value in tree.items():
        old = result.get(key)
        result[key] = value
        if isinstance(old, dict) and isinstance(value, dict):
            before = old.get(KEYS.get(key, "name"), DEFAULT_NAMES.get(key))
            after = value.get(KEYS.get(key, "name"), before)
            if key == "large":
                result[key] = merged(_fitting(old, before, after), value)
            elif after == before or (_is_table(before) and _is_table(after)):
                result[key] = merged(old, value)
    return result


def _fitting(old: dict[str, Any], before: object, after: object) -> dict[str, Any]:
    """Return what a base states of the large side but for what only its own head can be told."""
    known, wanted = _keys_of(before), _keys_of(after)
    return {key: value for key, value in old.items() if key not in known or key in wanted}


def _keys_of(head: object) -> Collection[str]:
    """Return what a head can be told; of one that is not there nothing is known."""
    if isinstance(head, str) and (head in HEADS or is_own(head)):
        return method_of("large", head).options.model_fields
    return ()


def _is_table(name: object) -> bool:
    return isinstance(name, str) and kind_of(name) in TABLES


def parse_config(tree: dict[str, Any], source: str) -> Config:
    """Validate a tree of settings; ``source`` names where it came from in errors."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{source}: {explained(partial(_explain, tree), error)}") from error


def foreign_methods(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the part and the name of each method of somebody's own that settings name."""
    for part in METHODS:
        section = tree.get(part)
        name = section.get(KEYS[part]) if isinstance(section, dict) else None
        if isinstance(name, str) and is_own(name):
            yield part, name


def dump_config(config: Config) -> str:
    """Return the resolved config as TOML, every default written out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _explain(tree: dict[str, Any], item: dict[str, Any]) -> str:
    parts = [str(part) for part in item["loc"]]
    key = ".".join(parts)
    if item["type"] == "extra_forbidden":
        said = _known_as(key) or _belongs(parts) or f"unknown key{_suggestion(tree, parts)}"
        return f"{key}: {said}"
    message = str(item["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    if isinstance(item["input"], dict) and message.startswith(f"{key}."):
        return message  # a rule about several fields, which names them itself
    return f"{key}: {message}, found {found_value(item['input'])}" if key else message


def _known_as(key: str) -> str:
    """Return what is said of a key of an earlier release, nothing of others."""
    return f"is now called {RENAMED[key]}" if key in RENAMED else ""


def _belongs(parts: list[str]) -> str:
    """Return whose key it is that another head does not know, nothing of others."""
    owners = [name for name, head in HEADS.items() if parts[-1] in head.options.model_fields]
    if parts[0] != "large" or not owners:
        return ""
    return f"belongs to large.head = {' or '.join(map(repr, owners))}"


def _suggestion(tree: dict[str, Any], parts: list[str]) -> str:
    section: Any = Config
    for part in parts[:-1]:
        if section is Config and part in METHODS:
            section = method_of(part, tree[part].get(KEYS[part], DEFAULT_NAMES[part])).options
        elif part in section.model_fields:
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
