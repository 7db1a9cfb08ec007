"""Runs side by side: grouped by method, with mean and standard deviation over seeds."""

import json
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from fedbridge.config import Config
from fedbridge.report.folder import Run
from fedbridge.report.wording import SIGNED, UNKNOWN, metric, percent

# (predictor, metric) of each column
COMPARED = (
    ("small", "final_accuracy"),
    ("large", "final_accuracy"),
    ("together", "final_accuracy"),
    ("small", "forgetting"),
    ("small", "backward_transfer"),
    ("small", "forward_transfer"),
)


class Line(NamedTuple):
    """One line of a comparison: a run, or the mean over a method's seeds."""

    method: str
    seed: str
    cells: tuple[str, ...]
    is_mean: bool = False


def compare(runs: Sequence[Run], protocol: str) -> list[list[Line]]:
    """Return the lines of each method: its runs by seed, then their mean where seeds differ.

    Runs belong to one method when their settings differ in nothing but seed and engine.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(settings_of(run.config)), []).append(run)
    labels = _labels([members[0] for members in groups.values()])
    return [
        _lines(label, sorted(members, key=lambda run: run.config.seed), protocol)
        for label, members in zip(labels, groups.values(), strict=True)
    ]


def mean_and_deviation(values: Sequence[float | None], signed: bool = False) -> str:
    """Return mean ± sample standard deviation (n - 1) in %, unknown if any value is."""
    known = [value for value in values if value is not None]
    if len(known) < max(2, len(values)):
        return UNKNOWN
    return f"{percent(statistics.mean(known), signed)} ± {percent(statistics.stdev(known))}"


def _lines(label: str, runs: Sequence[Run], protocol: str) -> list[Line]:
    lines = [_line(label, run, protocol) for run in runs]
    # a seed that was run twice says nothing about the spread over seeds: it counts once
    seeds = {run.config.seed: run.summary for run in runs if run.summary}
    if len(seeds) > 1:
        cells = tuple(
            mean_and_deviation(
                [getattr(s.measures(predictor, protocol), name) for s in seeds.values()],
                signed=name in SIGNED,
            )
            for predictor, name in COMPARED
        )
        lines.append(Line(label, "mean", cells, is_mean=True))
    return lines


def _line(label: str, run: Run, protocol: str) -> Line:
    if run.summary is None:
        return Line(f"{label} (unfinished)", str(run.config.seed), (UNKNOWN,) * len(COMPARED))
    summary = run.summary
    cells = tuple(metric(summary.measures(p, protocol), name) for p, name in COMPARED)
    return Line(label, str(run.config.seed), cells)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Return each run's method, with the settings that tell it from others of that name."""
    several = len({run.config.data.name for run in runs}) > 1
    labels = []
    for run in runs:
        own = settings_of(run.config)
        namesakes = [other.config for other in runs if other.config.name == run.config.name]
        others = [settings_of(config) for config in namesakes]
        telling = {key for key in own if any(other.get(key) != own[key] for other in others)}
        telling |= {"data.name"} if several else set()
        notes = ", ".join(f"{key}={own[key]}" for key in own if key in telling)
        labels.append(f"{run.config.name} ({notes})" if notes else run.config.name)
    return labels


def settings_of(config: Config) -> dict[str, Any]:
    """Return the settings as ``a.b`` keys, without the seed and what no number depends on."""
    tree = config.model_dump(mode="json", exclude={"seed", "engine", "track"})
    sections = {key: value for key, value in tree.items() if isinstance(value, dict)}
    flat = {key: value for key, value in tree.items() if key not in sections}
    for section, values in sections.items():
        flat |= {f"{section}.{key}": value for key, value in values.items()}
    return flat
