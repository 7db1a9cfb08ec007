"""A suite's results as Markdown: tables, significance, and the verdict on every bar."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fedbridge.bench.outcome import Grid, MethodRuns, Outcome, own_metrics_of
from fedbridge.bench.significance import Test, compared_with_ours
from fedbridge.bench.suite import slug
from fedbridge.bench.verdicts import verdicts
from fedbridge.core.metrics import METRICS, PREDICTORS, PROTOCOLS
from fedbridge.core.wording import UNKNOWN, percent
from fedbridge.report.run.comparison import mean_and_deviation
from fedbridge.report.run.tables import markdown_row

TESTED = ("small", "together")
MET = {True: "yes", False: "**no**", None: "undecided"}
FIGURES = {
    "accuracy": "final accuracy of every method",
    "forgetting": "forgetting of every method",
    "tasks": "accuracy of every method over the tasks",
}
ALL = "All {done} runs are finished."
SOME = "{done} of {wanted} runs are finished; methods that lack some are marked, and not judged."
HEAD = """\
Written by `fedbridge bench`; do not edit. In percent, mean ± sample standard deviation over the
seeds {seeds}; class-incremental unless said otherwise.
{runs}

"""
LEGEND = """\
The best value of a column is bold; upper bounds take no part in that. A value in brackets does not
speak for its method. p: two-sided Wilcoxon signed-rank test of final accuracies against ours,
paired over seeds and clients (number of pairs in brackets), after Holm over the methods of the
table; clients of one seed share their data set, so the pairs are not quite independent. KR_t,
temporal retention, is what the small models score on the first task in the end, as a share of what
they scored right after it; KR_s, spatial retention, is what the large side scores on the newest
task in the end, as a share of what the small models do; above 100 % is a gain. Transfers are those
of `small`. Seconds are those of runs side by side: an upper bound, not a comparison.
"""


@dataclass(frozen=True)
class Column:
    """One column of numbers: what it shows of a run, and which end of it is best."""

    head: str
    value: Callable[[Outcome], float | None]
    predictor: str | None = None
    """Whose number it is; in brackets where that predictor does not speak for the method."""
    best: Callable[[Sequence[float]], float] = max
    signed: bool = False
    unit: float | None = None
    """What numbers that are no shares are divided by."""

    def text(self, group: MethodRuns) -> str:
        """Return mean ± deviation over a method's seeds."""
        values = [self.value(outcome) for outcome in group.outcomes]
        if self.unit is not None:
            return _amount(values, self.unit)
        if len(values) == 1:
            return percent(values[0], self.signed)
        return mean_and_deviation(values, self.signed)

    def mean(self, group: MethodRuns) -> float | None:
        """Return the mean as it is shown, so that what looks equal is equally good."""
        text = self.text(group).split()[0].replace("−", "-")
        return None if text == UNKNOWN else float(text)

    def counts(self, group: MethodRuns) -> bool:
        """Return whether a method's number speaks for it."""
        return self.predictor is None or self.predictor in group.method.reads


def _metric(
    head: str, name: str, predictor: str, best: Callable[[Sequence[float]], float] = max
) -> Column:
    signed = METRICS[name].signed
    return Column(head, lambda o: o.metric(name, predictor), predictor, best, signed)


def _aware(predictor: str) -> Column:
    def value(outcome: Outcome) -> float | None:
        return outcome.metric("final_accuracy", predictor, PROTOCOLS[1])

    return Column(f"{predictor}, task given", value, predictor)


def _cost(head: str, value: Callable[[Outcome], float | None], unit: float) -> Column:
    return Column(head, value, best=min, unit=unit)


ACCURACY = [_metric(predictor, "final_accuracy", predictor) for predictor in PREDICTORS]
KEEPING = [
    _metric("forgetting of small", "forgetting", "small", min),
    _metric("forgetting of together", "forgetting", "together", min),
    _metric("backward transfer", "backward_transfer", "small"),
    _metric("forward transfer", "forward_transfer", "small"),
    _metric("KR_t", "temporal_retention", "small"),
    _metric("KR_s", "spatial_retention", "large"),
]
COSTS = [
    *(_aware(predictor) for predictor in PREDICTORS),
    _cost("MB up", lambda o: o.costs.bytes_up, 1e6),
    _cost("MB down", lambda o: o.costs.bytes_down, 1e6),
    _cost("seconds", lambda o: o.seconds, 1.0),
]


def summary(
    name: str,
    grid: Grid,
    seeds: Sequence[int],
    wanted: int,
    failed: Mapping[str, str] | None = None,
) -> str:
    """Return the whole page of a suite of ``wanted`` runs, a function of its arguments alone.

    ``failed`` are the runs that failed, by name, and why.
    """
    done = sum(len(group.outcomes) for groups in grid.values() for group in groups)
    runs = ALL if done == wanted else SOME
    head = HEAD.format(seeds=", ".join(map(str, seeds)), runs=runs.format(done=done, wanted=wanted))
    parts = [f"## Suite {name}\n\n{head}{LEGEND}", *_failures(failed or {}), *_judgement(grid)]
    for scenario, found in grid.items():
        if found:
            parts += _scenario(scenario, found)
    return "\n".join(parts)


def _failures(failed: Mapping[str, str]) -> Iterator[str]:
    if failed:
        yield "### Runs that failed\n"
        yield _table(("run", "reason"), list(failed.items()), words=2)


def _judgement(grid: Grid) -> Iterator[str]:
    lines = [
        (scenario, *verdict[:3], MET[verdict.met])
        for scenario, groups in grid.items()
        for verdict in verdicts(groups)
    ]
    if lines:
        met = sum(line[-1] == MET[True] for line in lines)
        yield f"### Bars: {met} of {len(lines)} met\n"
        yield _table(("scenario", "bar", "needed", "found", "met"), lines, words=5)


def _scenario(scenario: str, groups: Sequence[MethodRuns]) -> Iterator[str]:
    yield f"### {scenario}\n"
    yield _table(
        ("method", "role", *(c.head for c in ACCURACY), *(f"p of {p}" for p in TESTED)),
        zip(
            _names(groups),
            _roles(groups),
            *_columns(ACCURACY, groups),
            *_tests(groups),
            strict=True,
        ),
        words=2,
    )
    keeping = [*KEEPING, *_own(groups)]
    yield _table(
        ("method", *(column.head for column in keeping)),
        zip(_names(groups), *_columns(keeping, groups), strict=True),
    )
    yield _table(
        ("method", *(column.head for column in COSTS)),
        zip(_names(groups), *_columns(COSTS, groups), strict=True),
    )
    for kind, words in FIGURES.items():
        yield f"![{scenario}: {words}]({figure_name(scenario, kind)})\n"


def _own(groups: Sequence[MethodRuns]) -> Iterator[Column]:
    """Yield a column for each metric of the runs' own, of the predictor that it names first."""
    own = own_metrics_of(outcome for group in groups for outcome in group.outcomes)
    for name, metric in own.items():
        best = max if metric.better == "higher" else min
        value = partial(_value, name, metric.predictor)
        yield Column(metric.title, value, metric.predictor, best, metric.signed)


def _value(name: str, predictor: str, outcome: Outcome) -> float | None:
    return outcome.metric(name, predictor)


def figure_name(scenario: str, kind: str) -> str:
    """Return the file name of a scenario's figure, one of FIGURES."""
    return f"{slug(scenario)}-{kind}.svg"


def _names(groups: Sequence[MethodRuns]) -> list[str]:
    return [
        group.name if group.complete else f"{group.name} ({len(group.outcomes)} of {group.wanted})"
        for group in groups
    ]


def _roles(groups: Sequence[MethodRuns]) -> list[str]:
    return [group.method.role or "" for group in groups]


def _columns(columns: Sequence[Column], groups: Sequence[MethodRuns]) -> list[list[str]]:
    return [_cells(column, groups) for column in columns]


def _cells(column: Column, groups: Sequence[MethodRuns]) -> list[str]:
    """Return a column's cells, the best bold; bounds and what does not count are never that."""
    competing = [g for g in groups if g.method.role != "bound" and column.counts(g)]
    means = [mean for group in competing if (mean := column.mean(group)) is not None]
    best = column.best(means) if means else None
    cells = []
    for group in groups:
        text = column.text(group)
        if not column.counts(group) and text != UNKNOWN:
            text = f"({text})"
        elif best is not None and group in competing and column.mean(group) == best:
            text = f"**{text}**"
        cells.append(text)
    return cells


def _tests(groups: Sequence[MethodRuns]) -> list[list[str]]:
    """Return for each tested predictor the cells of p, one per method."""
    ours = next((group for group in groups if group.method.role == "ours"), None)
    columns = []
    for predictor in TESTED:
        others = [g for g in groups if g is not ours and predictor in g.method.reads]
        others = [group for group in others if ours and group.finals(predictor)]
        finals = [group.finals(predictor) for group in others]
        tests = compared_with_ours(ours.finals(predictor), finals) if ours else []
        found = {group.name: _p(test) for group, test in zip(others, tests, strict=True)}
        columns.append([found.get(group.name, "") for group in groups])
    return columns


def _p(test: Test) -> str:
    if test.p is None:
        return f"{UNKNOWN} ({test.pairs})"
    return f"{'< 0.001' if test.p < 0.001 else format(test.p, '.3f')} ({test.pairs})"


def _amount(values: Sequence[float | None], unit: float) -> str:
    known = [value / unit for value in values if value is not None]
    if not known or len(known) < len(values):
        return UNKNOWN
    mean = statistics.mean(known)
    return f"{mean:.1f}" if mean < 100 else f"{mean:.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a Markdown table; columns after the first ``words`` are aligned as numbers are."""
    rule = "|" + "---|" * words + "---:|" * (len(head) - words) + "\n"
    return "".join([markdown_row(head), rule, *(markdown_row(row) for row in rows)])
