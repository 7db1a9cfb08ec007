"""Pictures of the dashboard, drawn once for what they show."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from fedbridge.core.metrics import PROTOCOLS
from fedbridge.core.wording import percent
from fedbridge.report.dashboard.entry import Entry
from fedbridge.report.run import bars, figures, page
from fedbridge.report.run.folder import RunRecord
from fedbridge.report.run.series import Curve, curve, select
from fedbridge.report.run.svg import COLOURS, INK, WIDTH, drawing, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KEPT = 128
MORE_COLOURS = ("#aa4499", "#8a6d00")  # dark enough on white and light enough on black
LETTERS = "ABCDEFGHIJKL"
STYLES = [
    (colour, marker, line)
    for line, markers in (("-", "osD^vP"), ((0, (4, 1.5)), "X*<>dh"))
    for colour, marker in zip([*COLOURS.values(), *MORE_COLOURS, INK], markers, strict=True)
]
"""Colour, marker and line of each run, of which no two are alike."""


class Charts:
    """Draws one picture at a time, for matplotlib's settings are global, and keeps the newest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Markup] = OrderedDict()

    def of_run(self, entry: Entry) -> dict[str, Markup]:
        """Return the pictures of one run: accuracy over tasks, each client, bytes per round."""
        run, found = entry.run, dict.fromkeys(("tasks", "traffic"), Markup())
        if run is None:
            return found
        if curves := figures.curves_of(run, PROTOCOLS[0]):
            limits = figures.axis_limits(list(curves.values()))
            found["tasks"] = self._once(
                ("tasks", entry.name, entry.stamp),
                lambda: figures.accuracy_over_tasks("tasks", curves, limits),
            )
        if rounds := run.events.rounds:
            found["traffic"] = self._once(
                ("traffic", entry.name, entry.stamp), lambda: bars.traffic("traffic", rounds)
            )
        return found

    def compared(self, entries: Sequence[Entry], predictor: str) -> Markup | None:
        """Return the accuracy over tasks of several runs, None if none has been measured."""
        curves = {
            letter: curve(select(entry.run.scores, predictor, PROTOCOLS[0]))
            for letter, entry in zip(LETTERS, entries, strict=False)
            if entry.run
        }
        if not any(curves.values()):
            return None
        key = (predictor, tuple((entry.name, entry.stamp) for entry in entries))
        return self._once(key, lambda: overlay("compared", curves, predictor))

    def report(self, run: RunRecord) -> str:
        """Return the whole report of a run as a page."""
        with self._lock:
            return page.render(run)

    def _once(self, key: Hashable, draw: Callable[[], str]) -> Markup:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = Markup(draw())
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


def overlay(name: str, curves: Mapping[str, Curve], predictor: str) -> str:
    """Return the curves of several runs in one picture, each named by a letter at its end."""
    measured = {letter: points for letter, points in curves.items() if points}
    limits = figures.axis_limits(list(measured.values()))
    with drawing(WIDTH, 230) as (figure, axes):
        for letter, points in measured.items():
            colour, marker, line = STYLES[LETTERS.index(letter)]
            tasks, values = zip(*points, strict=True)
            shown = [100 * value for value in values]
            look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line}
            axes.plot(tasks, shown, markersize=5, clip_on=False, **look)
        final = max(points[-1][0] for points in measured.values())
        axes.set_xlim(0.7, final + 0.45)
        axes.set_xticks(range(1, final + 1, 1 + final // 10))
        axes.set_ylim(100 * limits[0], 100 * limits[1])
        axes.yaxis.set_major_formatter("{x:g} %")
        axes.set_xlabel("after task")
        _name_ends(axes, measured)
        words = "; ".join(
            f"{letter}: " + ", ".join(f"{percent(v)} % after task {t}" for t, v in points)
            for letter, points in measured.items()
        )
        return inline_svg(figure, name, f"Accuracy of {predictor} after each task. {words}.")


def _name_ends(axes: "Axes", curves: Mapping[str, Curve]) -> None:
    low, high = axes.get_ylim()
    order = sorted(curves, key=lambda letter: curves[letter][-1][1])
    heights = apart([100 * curves[letter][-1][1] for letter in order], 0.06 * (high - low))
    for letter, height in zip(order, heights, strict=True):
        axes.annotate(
            letter,
            (curves[letter][-1][0], height),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold",
            annotation_clip=False,
        )


def apart(values: Sequence[float], gap: float) -> list[float]:
    """Return places for labels at ascending ``values``, at least ``gap`` asunder, mean kept."""
    places = list(values)
    for below, above in pairwise(range(len(places))):
        places[above] = max(places[above], places[below] + gap)
    shift = (sum(places) - sum(values)) / max(1, len(places))
    return [place - shift for place in places]
