"""Curves of accuracy over tasks: for the page, for one client each, and as a picture file."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedbridge.core.errors import UserError
from fedbridge.core.files import writing, written
from fedbridge.core.metrics import PREDICTORS
from fedbridge.core.wording import percent, short
from fedbridge.report.run.folder import RunRecord, read_run
from fedbridge.report.run.reached import reached
from fedbridge.report.run.series import Curve, curve, select
from fedbridge.report.run.svg import COLOURS, WIDTH, drawing, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {"small": "o", "large": "s", "together": "D"}
DASHES = {"small": "-", "large": (0, (4, 1.5)), "together": (0, (1.2, 1))}


def accuracy_over_tasks(name: str, curves: Mapping[str, Curve], limits: tuple[float, float]) -> str:
    """Return the accuracy on all tasks so far, after each task, as one line per predictor."""
    with drawing(WIDTH, 220) as (figure, axes):
        _draw(axes, curves, limits)
        _label_ends(axes, curves)
        axes.set_xlabel("after task")
        return inline_svg(figure, name, f"Accuracy after each task. {_in_words(curves)}")


def accuracy_of_client(
    name: str, client: str, curves: Mapping[str, Curve], limits: tuple[float, float]
) -> str:
    """Return the same of one client as a small multiple: no labels, common limits."""
    with drawing(WIDTH / 2, 125) as (figure, axes):
        _draw(axes, curves, limits)
        axes.set_title(short(client, 22), loc="left", fontsize=9.5, fontweight="bold")
        return inline_svg(figure, name, f"{client}: accuracy after each task. {_in_words(curves)}")


def curves_of(run: RunRecord, protocol: str, client: str | None = None) -> dict[str, Curve]:
    """Return a run's curve of each predictor that was measured, of all clients or of one."""
    scores = [s for s in run.scores if client in (None, s.client)]
    curves = {p: curve(select(scores, p, protocol)) for p in PREDICTORS}
    return {predictor: points for predictor, points in curves.items() if points}


def axis_limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the tenths that enclose all curves with a little room, within 0 and 1."""
    values = [value for points in curves for _, value in points] or [0.0, 1.0]
    low = np.floor(10 * min(values) - 0.3) / 10
    high = np.ceil(10 * max(values) + 0.3) / 10
    return max(0.0, float(low)), min(1.0, float(high))


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Return places for at most three labels at ``values``, moved to lie ``gap`` asunder."""
    places = np.array(values, dtype=float)
    order = np.argsort(places, kind="stable")
    for _ in range(40):  # each sweep leaves a quarter of what three labels still overlap
        for below, above in pairwise(order):
            overlap = max(0.0, places[below] + gap - places[above])
            places[below] -= overlap / 2
            places[above] += overlap / 2
    return [float(place) for place in places]


def write_picture(run_folder: Path, path: Path) -> Path:
    """Write accuracy over tasks as a picture, ``.png`` or ``.svg``, that stands on its own.

    Raises UserError when the run has no accuracies yet or the ending is another one.
    """
    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise UserError(f"{path}: a picture must end in .png or .svg, found {ending!r}")
    run = read_run(run_folder)
    curves = curves_of(run, "class-incremental")
    if not curves:
        raise UserError(f"{run_folder / 'accuracy.csv'}: must hold accuracies, found none yet")
    with writing(path), written(path) as part, drawing(1.4 * WIDTH, 240) as (figure, axes):
        figure.set_facecolor("white")
        _draw(axes, curves, axis_limits(list(curves.values())))
        _label_ends(axes, curves)
        title = f"{run.config.name} on {run.config.data.title}: accuracy on all classes seen so far"
        title = short(title, 80) if run.summary else f"{short(title, 80)},\n{reached(run).words}"
        axes.set_title(
            short(title, 80 if run.summary else 140), loc="left", fontweight="bold", pad=10
        )
        axes.set_xlabel("after task")
        date = {"Date": None} if ending == ".svg" else {}
        frame: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.15}
        figure.savefig(part, format=ending[1:], dpi=200, metadata=date, **frame)
    return path


def _draw(axes: "Axes", curves: Mapping[str, Curve], limits: tuple[float, float]) -> None:
    """Draw one line per predictor, distinguished by colour, marker and dashes."""
    for predictor, points in curves.items():
        tasks, values = zip(*points, strict=True)
        axes.plot(
            tasks,
            [100 * value for value in values],
            color=COLOURS[predictor],
            marker=MARKERS[predictor],
            markersize=4,
            linestyle=DASHES[predictor],
            linewidth=1.8,
            clip_on=False,
        )
    final = _final_task(curves)
    axes.set_xlim(0.7, final + 0.3)
    axes.set_xticks(range(1, final + 1, 1 + final // 10))
    axes.set_ylim(100 * limits[0], 100 * limits[1])
    axes.locator_params(axis="y", nbins=5)
    axes.yaxis.set_major_formatter("{x:g} %")


def _label_ends(axes: "Axes", curves: Mapping[str, Curve]) -> None:
    """Write each predictor's name and last value beside the end of its line."""
    low, high = axes.get_ylim()
    ends = [100 * points[-1][1] for points in curves.values()]
    for predictor, value, height in zip(
        curves, ends, spread(ends, 0.08 * (high - low)), strict=True
    ):
        axes.annotate(
            f"{predictor} {value:.1f}",
            (_final_task(curves), height),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[predictor],
            fontweight="bold",
            annotation_clip=False,
        )


def _final_task(curves: Mapping[str, Curve]) -> int:
    return max((points[-1][0] for points in curves.values()), default=1)


def _in_words(curves: Mapping[str, Curve]) -> str:
    """Return the curves as a sentence for those who do not see them."""
    lines = [
        f"{predictor}: " + ", ".join(f"{percent(value)} % after task {task}" for task, value in p)
        for predictor, p in curves.items()
    ]
    return "; ".join(lines) + "."
