"""Runs side by side: grouped by method, with mean and standard deviation over seeds."""

import json
import statistics
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from fedbridge.config.flat import settings_of
from fedbridge.core.legible import legible
from fedbridge.core.wording import UNKNOWN, elided, percent
from fedbridge.report.run.folder import RunRecord
from fedbridge.report.run.metric_words import SIGNED, metric, signed_of
from fedbridge.report.run.reached import reached

LONGEST = 48  # signs of a setting's value that are shown
# (predictor, metric) of each column
COMPARED = (
    ("small", "final_accuracy"),
    ("large", "final_accuracy"),
    ("together", "final_accuracy"),
    ("small", "forgetting"),
    ("small", "backward_transfer"),
    ("small", "forward_transfer"),
)


class Columns(NamedTuple):
    """What is compared: (predictor, metric) of each column, and which metrics have a sign."""

    shown: tuple[tuple[str, str], ...]
    protocol: str
    signed: Collection[str]


class Label(NamedTuple):
    """A method's name, and what distinguishes it from others of that name."""

    name: str
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.notes)})" if self.notes else self.name


class ComparisonLine(NamedTuple):
    """One line of a comparison: a run, or the mean over a method's seeds."""

    method: Label
    seed: str
    cells: tuple[str, ...]
    is_mean: bool = False


def compare(runs: Sequence[RunRecord], protocol: str) -> list[list[ComparisonLine]]:
    """Return the lines of each method: its runs by seed, then their mean where seeds differ.

    Runs belong to one method when their settings differ in nothing but seed and engine.
    """
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(json.dumps(settings_of(run.config)), []).append(run)
    labels = _labels([members[0] for members in groups.values()])
    columns = Columns(compared_in(runs), protocol, _signed(runs))
    return [
        _lines(label, sorted(members, key=lambda run: run.config.seed), columns)
        for label, members in zip(labels, groups.values(), strict=True)
    ]


def compared_in(runs: Sequence[RunRecord]) -> tuple[tuple[str, str], ...]:
    """Return (predictor, metric) of each column: ours, then the runs' own metrics."""
    own = {name: each.predictor for run in runs for name, each in run.own_metrics.items()}
    return (*COMPARED, *((predictor, name) for name, predictor in own.items()))


def _signed(runs: Sequence[RunRecord]) -> set[str]:
    return {name for run in runs for name in signed_of(run)} | set(SIGNED)


def mean_and_deviation(values: Sequence[float | None], signed: bool = False) -> str:
    """Return mean ± sample standard deviation (n - 1) in %, unknown if any value is."""
    known = [value for value in values if value is not None]
    if len(known) < max(2, len(values)):
        return UNKNOWN
    return f"{percent(statistics.mean(known), signed)} ± {percent(statistics.stdev(known))}"


def _lines(label: Label, runs: Sequence[RunRecord], columns: Columns) -> list[ComparisonLine]:
    lines = [_line(_named(label, run, runs), run, columns) for run in runs]
    # a seed that was run twice says nothing about the spread over seeds: it counts once
    seeds = {run.config.seed: run for run in runs if run.summary}
    if len(seeds) > 1:
        cells = tuple(
            mean_and_deviation(
                [run.measures(predictor, columns.protocol).value(name) for run in seeds.values()],
                signed=name in columns.signed,
            )
            for predictor, name in columns.shown
        )
        lines.append(ComparisonLine(label, "mean", cells, is_mean=True))
    return lines


def _line(label: Label, run: RunRecord, columns: Columns) -> ComparisonLine:
    cells = tuple(
        metric(run.measures(p, columns.protocol), name, columns.signed) for p, name in columns.shown
    )
    return ComparisonLine(label, str(run.config.seed), cells)


def _named(label: Label, run: RunRecord, runs: Sequence[RunRecord]) -> Label:
    """Return a method's label with what is to be said of one of its runs."""
    notes = [reached(run).words] if run.summary is None else []
    twins = {str(other.folder) for other in runs if other.config.seed == run.config.seed}
    if len(twins) > 1:
        notes.insert(0, f"in {telling_part(str(run.folder), twins)}")
    return Label(label.name, (*label.notes, *notes))


def _labels(runs: Sequence[RunRecord]) -> list[Label]:
    """Return each run's method, with the settings that tell it from others of that name."""
    several = len({run.config.data.name for run in runs}) > 1
    labels = []
    for run in runs:
        own = settings_of(run.config)
        namesakes = [other.config for other in runs if other.config.name == run.config.name]
        others = [settings_of(config) for config in namesakes]
        telling = {key for key in own if any(other.get(key) != own[key] for other in others)}
        telling |= {"data.name"} if several else set()
        every = [settings_of(other.config) for other in runs]
        notes = (f"{key}={_told(key, own[key], every)}" for key in own if key in telling)
        labels.append(Label(legible(run.config.name), tuple(notes)))
    return labels


def _told(key: str, value: Any, every: Sequence[Mapping[str, Any]]) -> str:
    return telling_part(str(value), {str(own[key]) for own in every if key in own})


def telling_part(text: str, others: set[str]) -> str:
    """Return a text, of a path only its distinctive part, cut in the middle if it is long."""
    steps = zip(*(other.split("/") for other in others | {text}), strict=False)
    alike = takewhile(lambda parts: len(set(parts)) == 1, steps)
    common = "".join(f"{parts[0]}/" for parts in alike)
    if len(others | {text}) > 1 and common:
        kind, colon, _ = common.partition(":")
        text = f"{kind + colon if colon else ''}…/{text.removeprefix(common)}"
    return elided(text, LONGEST)
