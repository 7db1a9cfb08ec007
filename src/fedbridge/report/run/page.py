"""The page about one run: a single file that needs nothing else, online or off."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from fedbridge.core.files import write_text
from fedbridge.core.legible import on_page
from fedbridge.core.metrics import PREDICTORS, PROTOCOLS
from fedbridge.core.wording import UNKNOWN, duration, percent, short, size
from fedbridge.report.run import bars, figures
from fedbridge.report.run.folder import RunRecord, read_run
from fedbridge.report.run.graph import graph
from fedbridge.report.run.heat import HeatMap, heat_map
from fedbridge.report.run.lessons import fusions, mean_weights, outcomes
from fedbridge.report.run.meaning import MEANING, RETENTION, retention
from fedbridge.report.run.metric_words import metric, metrics_of, signed_of
from fedbridge.report.run.reached import reached
from fedbridge.report.run.series import Curve, select
from fedbridge.report.run.space import cosines, maps
from fedbridge.report.run.troubles import failures_of
from fedbridge.runs.tasks import own_tasks_in_words, tasks_in_words

MAIN = PROTOCOLS[0]
GLOSSES = {
    "small": "what a small device runs by itself",
    "large": "the foundation model with its head",
    "together": "both, calibrated on private data",
}
Rows = list[list[Any]]


def write_page(run_folder: Path) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Raises UserError when the folder is no run or a file in it is damaged. An unfinished run
    is shown as far as it has come.
    """
    text = render(read_run(run_folder))
    page = run_folder / "report.html"
    write_text(page, text)
    return page


def render(run: RunRecord) -> str:
    """Return the page of a run as HTML, everything that users named escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("fedbridge.report.run"),
        autoescape=True,
        finalize=on_page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"percent": percent, "size": size, "duration": duration, "short": short}
    pages.filters["signed"] = partial(percent, signed=True)
    return pages.get_template("page.html").render(
        run=run,
        summary=run.summary,
        config=run.config,
        stand=reached(run),
        tasks=tasks_in_words(run.tasks, run.config),
        own_tasks=own_tasks_in_words,
        models=run.models,
        headline=_headline(run),
        gain=_gain(run),
        results=_results(run),
        figures=_figures(run),
        shown=list(figures.curves_of(run, MAIN)),
        curves=_curves(run),
        heat=_heat(run),
        taught=_taught(run),
        space=_space(run),
        costs=_costs(run),
        phases=_phases(run),
        alarms=_alarms(run),
        troubles=failures_of(run.events.troubles),
        retention=retention(run),
        metrics=metrics_of(run),
        MEANING=MEANING | {name: own.summary for name, own in run.own_metrics.items()},
        RETENTION=RETENTION,
    )


def _headline(run: RunRecord) -> list[tuple[str, str, float | None]]:
    """Return (predictor, what it is, its accuracy) of all three."""
    return [
        (p, GLOSSES[p] if p in run.predictors else "not part of this run", _accuracy(run, p))
        for p in PREDICTORS
    ]


def _accuracy(run: RunRecord, predictor: str) -> float | None:
    """Return the final accuracy or, while the run is unfinished, that on the tasks so far."""
    return run.measures(predictor, MAIN).final_accuracy


def _gain(run: RunRecord) -> float | None:
    """Return how far ``together`` lies above the better side, None where one is unknown."""
    small, large, together = (_accuracy(run, predictor) for predictor in PREDICTORS)
    if small is None or large is None or together is None:
        return None
    return together - max(small, large)


def _results(run: RunRecord) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Return (protocol, [(predictor, metrics as text)]), nothing before the first measurement."""
    if not run.results:
        return []
    signs = signed_of(run)
    return [
        (
            protocol,
            [
                (p, [metric(run.measures(p, protocol), name, signs) for name in metrics_of(run)])
                for p in run.predictors
            ],
        )
        for protocol in PROTOCOLS
    ]


def _alarms(run: RunRecord) -> list[tuple[str, int]]:
    """Return each warning once, with how often it was given."""
    return list(Counter(alarm.message for alarm in run.events.alarms).items())


def _figures(run: RunRecord) -> dict[str, list[str]]:
    """Return the page's figures as markup, by section; a section without data is empty."""
    from markupsafe import Markup

    drawn = _accuracy_figures(run) | _cost_figures(run)
    return {section: [Markup(svg) for svg in found] for section, found in drawn.items()}


def _accuracy_figures(run: RunRecord) -> dict[str, list[str]]:
    mean = figures.curves_of(run, MAIN)
    if not mean:
        return {"tasks": [], "clients": [], "finals": []}
    own = _own_curves(run)
    limits = figures.axis_limits([points for curves in own.values() for points in curves.values()])
    finals = {c: {p: points[-1][1] for p, points in curves.items()} for c, curves in own.items()}
    return {
        "tasks": [
            figures.accuracy_over_tasks("tasks", mean, figures.axis_limits(list(mean.values())))
        ],
        "clients": [
            figures.accuracy_of_client(f"client-{place}", client, curves, limits)
            for place, (client, curves) in enumerate(own.items())
        ],
        "finals": [bars.accuracy_by_client("finals", finals)],
    }


def _own_curves(run: RunRecord) -> dict[str, dict[str, Curve]]:
    """Return the curves of each client that was measured."""
    own = {client: figures.curves_of(run, MAIN, client) for client in run.clients}
    return {client: curves for client, curves in own.items() if curves}


def _curves(run: RunRecord) -> dict[str, Any]:
    """Return what the curves show as rows of tables: of the mean, and of each client."""
    mean = figures.curves_of(run, MAIN)
    return {
        "names": list(mean),
        "mean": _by_task(mean),
        "clients": [
            [c, *row] for c, curves in _own_curves(run).items() for row in _by_task(curves)
        ],
    }


def _by_task(curves: dict[str, Curve]) -> Rows:
    found = {predictor: dict(points) for predictor, points in curves.items()}
    tasks = sorted({task for points in found.values() for task in points})
    return [[task, *(percent(points.get(task)) for points in found.values())] for task in tasks]


def _heat(run: RunRecord) -> dict[str, Any]:
    """Return the heat maps by predictor: of the mean, and of each client."""

    def maps_of(client: str | None) -> dict[str, HeatMap]:
        scores = [s for s in run.scores if client in (None, s.client)]
        found = {p: select(scores, p, MAIN) for p in PREDICTORS}
        return {p: heat_map(own) for p, own in found.items() if own}

    measured = {score.client for score in run.scores}
    clients = {client: maps_of(client) for client in run.clients if client in measured}
    return {"mean": maps_of(None), "clients": clients}


def _taught(run: RunRecord) -> dict[str, Any] | None:
    """Return who taught whom, and what it brought; None without teachers."""
    lessons = run.events.lessons
    if not lessons:
        return None
    every = fusions(lessons, run.events.choices)
    found = outcomes(every, run.clients)
    return {
        "fusions": every,
        "outcomes": found,
        "judged": any(outcome.gain is not None for outcome in found),
        "graph": graph(mean_weights(lessons), run.clients, found),
    }


def _space(run: RunRecord) -> dict[str, Any] | None:
    """Return the picture of the shared space, None where none was kept."""
    if run.space is None:
        return None
    by_client, by_class = maps(run.space)
    rows = [
        [name, *(UNKNOWN if value is None else f"{value:.2f}" for value in values)]
        for name, values in cosines(run.space)
    ]
    return {
        "by_client": by_client,
        "by_class": by_class,
        "clients": list(run.space.clients),
        "cosines": rows,
        "explained": sum(run.space.explained),
        "most": max(map(len, run.space.clients.values()), default=0),
    }


def _cost_figures(run: RunRecord) -> dict[str, list[str]]:
    rounds, seconds = run.events.rounds, _seconds(run)
    return {
        "traffic": [bars.traffic("traffic", rounds)] if rounds else [],
        "phases": [bars.time_by_phase("phases", seconds)] if seconds else [],
    }


def _seconds(run: RunRecord) -> dict[str, float]:
    return run.summary.seconds if run.summary else {}


def _costs(run: RunRecord) -> Rows:
    """Return task, round, seconds and bytes both ways of each round."""
    return [
        [r.task, r.round, duration(r.seconds), size(r.bytes_up), size(r.bytes_down)]
        for r in run.events.rounds
    ]


def _phases(run: RunRecord) -> Rows:
    """Return each phase with its seconds, the longest first."""
    ranked = sorted(_seconds(run).items(), key=lambda item: -item[1])
    return [[phase, f"{seconds:.1f}"] for phase, seconds in ranked]
