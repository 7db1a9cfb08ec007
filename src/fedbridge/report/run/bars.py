"""Bars: accuracy per client, bytes per round, seconds per phase."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fedbridge.core.wording import duration, percent, short, size
from fedbridge.report.run.folder import Round
from fedbridge.report.run.svg import COLOURS, INK, WIDTH, drawing, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy_by_client(name: str, finals: Mapping[str, Mapping[str, float]]) -> str:
    """Return the accuracy of each client's predictors, ``finals[client][predictor]``."""
    with drawing(WIDTH, 30 + 40 * len(finals)) as (figure, axes):
        for place, values in enumerate(finals.values()):
            for step, (predictor, value) in enumerate(values.items()):
                y = place + 0.27 * (step - (len(values) - 1) / 2)
                axes.barh(y, 100 * value, height=0.23, color=COLOURS[predictor])
                text = f"{percent(value)} {predictor}"  # never by colour alone
                axes.text(100 * value + 1.2, y, text, va="center_baseline", fontsize=8)
        _name_rows(axes, list(finals))
        axes.set_xlim(0, 125)
        axes.set_xticks(range(0, 101, 20))
        axes.xaxis.set_major_formatter("{x:g} %")
        axes.grid(axis="x")
        words = "; ".join(
            f"{client}: " + ", ".join(f"{p} {percent(v)} %" for p, v in values.items())
            for client, values in finals.items()
        )
        return inline_svg(figure, name, f"Accuracy on all tasks so far. {words}.")


def traffic(name: str, rounds: Sequence[Round]) -> str:
    """Return the bytes of each round: up to the server above the line, down below it."""
    with drawing(WIDTH, 190) as (figure, axes):
        places = range(len(rounds))
        axes.bar(places, [r.bytes_up for r in rounds], color=INK, alpha=0.75)
        axes.bar(places, [-r.bytes_down for r in rounds], color=INK, alpha=0.35)
        axes.axhline(0, color=INK, linewidth=0.6)
        top = 1.25 * max(max(r.bytes_up, r.bytes_down) for r in rounds) or 1
        axes.set_ylim(-top, top)
        axes.set_yticks([-top / 1.25, 0, top / 1.25], [size(top / 1.25), "0", size(top / 1.25)])
        for text, height, side in (("up", top, "top"), ("down", -top, "bottom")):
            axes.text(-0.5, height, text, va=side, fontweight="bold")
        starts = [i for i in places if i == 0 or rounds[i].task != rounds[i - 1].task]
        for start in starts[1:]:
            axes.axvline(start - 0.5, color=INK, alpha=0.3, linewidth=0.6, linestyle=(0, (3, 3)))
        axes.set_xticks(starts, [str(rounds[i].task) for i in starts])
        axes.spines.bottom.set_visible(False)
        axes.set_xlabel("rounds, numbered at the start of each task")
        up, down = sum(r.bytes_up for r in rounds), sum(r.bytes_down for r in rounds)
        label = f"Bytes in {len(rounds)} rounds: {size(up)} up and {size(down)} down in all."
        return inline_svg(figure, name, label)


def time_by_phase(name: str, seconds: Mapping[str, float]) -> str:
    """Return the seconds that each phase took, the longest first."""
    phases = sorted(seconds.items(), key=lambda item: -item[1])
    longest = phases[0][1] or 1.0
    with drawing(WIDTH, 16 + 24 * len(phases)) as (figure, axes):
        axes.barh(range(len(phases)), [s for _, s in phases], height=0.6, color=INK, alpha=0.6)
        for place, (_, spent) in enumerate(phases):
            axes.text(spent + 0.02 * longest, place, duration(spent), va="center_baseline")
        _name_rows(axes, [phase for phase, _ in phases])
        axes.set_xlim(0, 1.3 * longest)
        axes.set_xticks([])
        axes.spines.bottom.set_visible(False)
        words = ", ".join(f"{phase} {duration(spent)}" for phase, spent in phases)
        return inline_svg(figure, name, f"Time by phase: {words}.")


def _name_rows(axes: "Axes", names: Sequence[str]) -> None:
    """Name horizontal bars and list them downwards."""
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False)
