"""The jobs of a suite: every config resolved and checked, and how far its run has come."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w

from fedbridge.bench.suite import Suite, SuiteMethod, SuiteScenario, slug
from fedbridge.config.files import read_toml
from fedbridge.core.errors import UserError
from fedbridge.methods.config import Config
from fedbridge.methods.files import load_config
from fedbridge.methods.pictures import require_pictures
from fedbridge.runs.run import CONFIG, has_summary

State = Literal["new", "begun", "changed", "done"]
ENGINE = (
    *("engine.kind=local", "engine.workers=0", "engine.threads=1"),
    *("engine.checkpoints=1", "engine.checkpoint_seconds=20"),  # a finished run's are removed
)


@dataclass(frozen=True)
class Job:
    """One run of the grid."""

    scenario: SuiteScenario
    method: SuiteMethod
    seed: int
    config: Config
    folder: Path

    @property
    def name(self) -> str:
        """Return the name by which ``--only`` finds it, which its folder bears."""
        return self.folder.name

    def state(self) -> State:
        """Return how far the run is; one whose settings the suite has changed since is no run."""
        if not (self.folder / CONFIG).is_file():
            return "new"
        if not self._is_current():
            return "changed"
        return "done" if has_summary(self.folder) else "begun"

    def _is_current(self) -> bool:
        try:
            found = load_config(self.folder / CONFIG)
        except UserError:  # settings of another version
            return False
        ours = {"engine": self.config.engine, "track": self.config.track}
        return found.model_copy(update=ours) == self.config


def jobs_of(path: Path, suite: Suite, results: Path) -> list[Job]:
    """Return the jobs of a suite file, by scenario, method and seed.

    Raises UserError, naming the suite file and the entry, if any of their configs is invalid.
    """
    return [
        Job(scenario, method, seed, config, results / "runs" / _folder(scenario, method, seed))
        for scenario in suite.scenario
        for method in suite.method
        if method.runs_on(scenario.name)
        for seed, config in _configs(path, suite, scenario, method)
    ]


def log_of(folder: Path) -> Path:
    """Return the file beside a run's folder in which its process complains."""
    return folder.with_name(f"{folder.name}.log")


def _folder(scenario: SuiteScenario, method: SuiteMethod, seed: int) -> str:
    return f"{slug(scenario.name)}--{slug(method.name)}--{seed}"


def _configs(
    path: Path, suite: Suite, scenario: SuiteScenario, method: SuiteMethod
) -> Iterator[tuple[int, Config]]:
    try:
        config = _resolved(path.parent, scenario, method)
        require_pictures(config)
    except UserError as error:
        entry = f"scenario {scenario.name!r}, method {method.name!r}"
        raise UserError(f"{path}: {entry}: {error}") from error
    for seed in suite.seeds:
        yield seed, config.model_copy(update={"seed": seed})


def _resolved(folder: Path, scenario: SuiteScenario, method: SuiteMethod) -> Config:
    """Return the settings of a method on a scenario; paths count from ``folder``."""
    own = [*(_stated(folder / method.config) if method.config else []), *method.set]
    name = json.dumps(method.name, ensure_ascii=False)
    sets = [*scenario.set, *own, f"name={name}", *ENGINE]
    config = load_config(folder / scenario.config, sets)
    taken = {_key(text) for text in own}
    filled = [d for d in scenario.defaults if _key(d) not in taken and _has(config, _key(d))]
    return load_config(folder / scenario.config, [*sets, *filled]) if filled else config


def _key(override: str) -> str:
    return override.partition("=")[0]


def _has(config: Config, key: str) -> bool:
    section: object = config
    for part in key.split("."):
        if not hasattr(section, part):
            return False
        section = getattr(section, part)
    return True


def _stated(preset: Path) -> list[str]:
    """Return as overrides what a preset states itself, not what it extends."""
    tree = read_toml(preset, "preset")
    return list(_overrides({k: v for k, v in tree.items() if k not in ("extends", "name")}))


def _overrides(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    # the name first: another learner or fusion replaces the one before with its options
    for key in sorted(tree, key=lambda key: key != "name"):
        value = tree[key]
        if isinstance(value, dict):
            yield from _overrides(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={tomli_w.dumps({'v': value}).removeprefix('v = ')}"
