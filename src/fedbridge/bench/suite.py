"""A suite file: which methods, on which scenarios, with which seeds, and who is who."""

import difflib
import re
import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from fedbridge.config.files import explained, found_value, read_toml
from fedbridge.config.section import Count, Section
from fedbridge.core.errors import UserError

Role = Literal["ours", "part", "baseline", "bound", "equal"]
Predictor = Literal["small", "large", "together"]
ENTRIES = ("scenario", "method")
LONGEST = 100
"""Most bytes of a name, of which a folder's has two."""


def slug(name: str) -> str:
    """Return a name as files and folders bear it."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.")


def _nameable(name: str) -> str:
    if not slug(name) or not name.isprintable():
        raise ValueError("must have letters or digits and no line breaks")
    if len(slug(name).encode()) > LONGEST:
        raise ValueError(f"must be at most {LONGEST} bytes long")
    return name


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("must differ from each other")
    return seeds


Name = Annotated[str, AfterValidator(_nameable)]


class SuiteScenario(Section):
    """Data and how they are dealt out, for all methods alike."""

    name: Name
    config: str
    """A config file, relative to the suite file."""
    set: tuple[str, ...] = ()
    """Overrides of it, each ``a.b=value``."""
    defaults: tuple[str, ...] = ()
    """Overrides for whichever method has such a setting and does not state it itself: with
    ``learner.memory=8`` all methods that rehearse keep equally many exemplars."""


class SuiteMethod(Section):
    """What is laid over a scenario's config, and what it stands for."""

    name: Name
    config: str | None = None
    """A preset, relative to the suite file. What it states itself is laid over the scenario's
    config; its ``name`` and the file it ``extends`` are not."""
    set: tuple[str, ...] = ()
    """Overrides, each ``a.b=value``, laid over the preset."""
    only: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Patterns of the scenarios that it runs on."""
    role: Role | None = None
    """``ours``; one of our parts left out; a baseline; an upper bound; or ours with equal
    architectures. Without a role it is shown and not judged."""
    reads: Annotated[tuple[Predictor, ...], Field(min_length=1)] = ("small", "large", "together")
    """The predictors that speak for it."""

    def runs_on(self, scenario: str) -> bool:
        """Return whether one of the patterns fits a scenario."""
        return any(fnmatchcase(scenario, pattern) for pattern in self.only)


class Suite(Section):
    """A whole grid."""

    seeds: Annotated[tuple[Count, ...], Field(min_length=1), AfterValidator(_distinct)]
    scenario: Annotated[tuple[SuiteScenario, ...], Field(min_length=1)]
    method: Annotated[tuple[SuiteMethod, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _entries_fit_together(self) -> Self:
        for kind in ENTRIES:
            entries: Sequence[SuiteScenario | SuiteMethod] = getattr(self, kind)
            _no_two_alike(kind, [entry.name for entry in entries])
        ours = [method.name for method in self.method if method.role == "ours"]
        if len(ours) > 1:
            raise ValueError(f"one method at most may have the role 'ours', found {ours}")
        known = [scenario.name for scenario in self.scenario]
        for method in self.method:
            for pattern in method.only:
                if not any(fnmatchcase(name, pattern) for name in known):
                    raise ValueError(
                        f"method {method.name!r}: only: must fit a scenario "
                        f"({', '.join(known)}), found {pattern!r}"
                    )
        return self


def load_suite(path: Path) -> Suite:
    """Read a suite file; raise UserError naming the file, the entry and the rule.

    A file may begin with ``extends = "other.toml"``, in the same folder, and take from there what
    it does not state: the seeds, all scenarios or all methods.
    """
    tree = _read(path, ())
    try:
        return Suite.model_validate(tree)
    except ValidationError as error:
        raise UserError(f"{path}: {explained(partial(_explain, tree), error)}") from error


def _read(path: Path, via: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in via:
        raise UserError(f"{path}: extends itself through {via[-1]}")
    tree = read_toml(path, "suite")
    base = tree.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str) or Path(base).name != base:
        raise UserError(f"{path}: extends must be a file in the same folder, found {base!r}")
    return _read(path.with_name(base), (*via, path.resolve())) | tree


def _no_two_alike(kind: str, names: Sequence[str]) -> None:
    # as file systems that know no case, or one spelling alone, take them
    keys = [unicodedata.normalize("NFKC", slug(name)).casefold() for name in names]
    alike = [name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1]
    if alike:
        raise ValueError(f"{kind}: every name must be there once, found {', '.join(alike)}")


def _explain(tree: dict[str, Any], item: dict[str, Any]) -> str:
    kind, *rest = item["loc"] or ("suite",)
    where: str = str(kind)
    section: type[Section] = Suite
    if kind in ENTRIES and rest:
        place, *rest = rest
        entry = tree[kind][place]
        name = entry.get("name") if isinstance(entry, dict) else None
        where = f"{kind} {name!r}" if isinstance(name, str) else f"{kind} number {place + 1}"
        section = SuiteScenario if kind == "scenario" else SuiteMethod
    key = ": ".join([where, *map(str, rest[:1])])
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key{_suggestion(str((rest or [kind])[0]), section)}"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}, found {found_value(item['input'])}" if item["loc"] else message


def _suggestion(key: str, section: type[Section]) -> str:
    known = sorted(section.model_fields)
    close = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"
