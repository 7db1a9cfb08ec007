"""A suite's figures: bars of every method, and its accuracy over the tasks, as SVG files."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedbridge.bench.outcome import MethodRuns
from fedbridge.core.files import writing, written
from fedbridge.core.metrics import PREDICTORS
from fedbridge.core.wording import percent, short
from fedbridge.report.run.figures import MARKERS, axis_limits
from fedbridge.report.run.series import Curve
from fedbridge.report.run.svg import COLOURS, INK, STYLE, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 4  # panels in a row
NAME = 34  # signs of a method's name that a label has room for


def draw_bars(
    path: Path, groups: Sequence[MethodRuns], metric: str, predictors: Sequence[str]
) -> None:
    """Write a metric of every method as bars with deviations over seeds, a bar per predictor.

    Bounds are paler; what does not speak for a method is left out.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    height = 46 + (14 + 11 * len(predictors)) * len(groups)
    with rc_context(STYLE):
        figure = Figure(figsize=(2 * WIDTH / 72, height / 72), layout="constrained")
        axes = figure.subplots()
        for place, group in enumerate(groups):
            for step, predictor in enumerate(predictors):
                if predictor in group.method.reads:
                    y = place + 0.27 * (step - (len(predictors) - 1) / 2)
                    _bar(axes, y, group, (metric, predictor))
        axes.set_yticks(range(len(groups)), [short(group.name, NAME) for group in groups])
        axes.set_ylim(len(groups) - 0.45, -0.55)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.xaxis.set_major_formatter("{x:g} %")
        axes.margins(x=0.08)
        _legend(figure, predictors, {})
        _save(figure, path)


def draw_tasks(path: Path, groups: Sequence[MethodRuns]) -> None:
    """Write each method's accuracy over the tasks, a panel each, over ours ``together`` dashed."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    curves = [mean_curves(group) for group in groups]
    ours = next((c for g, c in zip(groups, curves, strict=True) if g.method.role == "ours"), {})
    limits = axis_limits([points for found in curves for points in found.values()])
    rows = -(-len(groups) // ACROSS)
    with rc_context(STYLE):
        figure = Figure(figsize=(2 * WIDTH / 72, (30 + 125 * rows) / 72), layout="constrained")
        grid = figure.subplots(rows, ACROSS, sharex=True, sharey=True, squeeze=False)
        panels = list(grid.flat)
        for axes, group, found in zip(panels, groups, curves, strict=False):
            _panel(axes, group, found, ours.get("together", []))
            axes.set_ylim(100 * limits[0], 100 * limits[1])
        for axes in panels[len(groups) :]:
            axes.set_visible(False)
        figure.supxlabel("after task", fontsize=8.5)
        _legend(figure, PREDICTORS, MARKERS, dashed=bool(ours))
        _save(figure, path)


def mean_curves(group: MethodRuns) -> dict[str, Curve]:
    """Return the mean over seeds of the curves of the predictors that speak for a method."""
    curves = {}
    for predictor in group.method.reads:
        found = [dict(outcome.curves.get(predictor, [])) for outcome in group.outcomes]
        tasks = [task for task in found[0] if all(task in points for points in found)]
        curves[predictor] = [(t, statistics.mean(points[t] for points in found)) for t in tasks]
    return {predictor: points for predictor, points in curves.items() if points}


def _bar(axes: "Axes", y: float, group: MethodRuns, what: tuple[str, str]) -> None:
    metric, predictor = what
    values = [value for value in group.metric(metric, predictor) if value is not None]
    if not values:
        return
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    alpha = 0.45 if group.method.role == "bound" else 1.0
    axes.barh(y, 100 * mean, height=0.24, color=COLOURS[predictor], alpha=alpha)
    if deviation:
        axes.errorbar(100 * mean, y, xerr=100 * deviation, color=INK, linewidth=0.9, capsize=1.5)
    end = 100 * (max(mean, 0.0) + deviation)
    axes.annotate(
        percent(mean),
        (end, y),
        xytext=(3, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=7,
    )


def _panel(axes: "Axes", group: MethodRuns, curves: Mapping[str, Curve], ours: Curve) -> None:
    axes.set_title(short(group.name, 24), loc="left", fontsize=8.5)
    if group.method.role != "ours" and ours:
        tasks, values = zip(*ours, strict=True)
        axes.plot(
            tasks, [100 * v for v in values], color=INK, alpha=0.5, linewidth=1, dashes=(3, 2)
        )
    for predictor, points in curves.items():
        tasks, values = zip(*points, strict=True)
        axes.plot(
            tasks,
            [100 * value for value in values],
            color=COLOURS[predictor],
            marker=MARKERS[predictor],
            markersize=3,
            linewidth=1.4,
            clip_on=False,
        )
        axes.set_xticks(range(1, tasks[-1] + 1, 1 + tasks[-1] // 10))
    axes.yaxis.set_major_formatter("{x:g} %")


def _legend(
    figure: "Figure", predictors: Sequence[str], markers: Mapping[str, str], dashed: bool = False
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], color=COLOURS[p], label=p, linewidth=2 if markers else 6, marker=markers.get(p)
        )
        for p in predictors
    ]
    if dashed:
        handles.append(Line2D([], [], color=INK, alpha=0.5, dashes=(3, 2), label="ours, together"))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=8.5
    )


def _save(figure: "Figure", path: Path) -> None:
    figure.set_facecolor("white")
    with writing(path), written(path) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})
