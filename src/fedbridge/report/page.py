"""The page about one run: a single file that needs nothing else, online or off."""

from collections import Counter
from importlib.resources import files
from pathlib import Path

from fedbridge.metrics import PREDICTORS, PROTOCOLS
from fedbridge.report import bars, cells, figures
from fedbridge.report.folder import Run, read_run
from fedbridge.report.series import curve, heat, last, lesson_weights, select
from fedbridge.report.wording import METRICS, duration, metric, percent, size
from fedbridge.report.writing import replacing

MAIN = PROTOCOLS[0]
GLOSSES = {
    "small": "what a small device runs by itself",
    "large": "the foundation model with its head",
    "together": "both, calibrated on private data",
}


def write_page(run_folder: Path) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Raises UserError when the folder is no run or a file in it is damaged. An unfinished run
    is shown as far as it has come.
    """
    text = render(read_run(run_folder))
    page = run_folder / "report.html"
    with replacing(page) as part:
        part.write_text(text, encoding="utf-8")
    return page


def render(run: Run) -> str:
    """Return the page of a run as HTML, everything that users named escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters |= {"percent": percent, "size": size, "duration": duration}
    here = files("fedbridge.report")
    source = here.joinpath("page.html").read_text(encoding="utf-8")
    palette = here.joinpath("palette.css").read_text(encoding="utf-8")
    return pages.from_string(source).render(
        palette=Markup(palette),
        run=run,
        summary=run.summary,
        config=run.config,
        headline=_headline(run),
        gain=_gain(run),
        results=_results(run),
        figures=_figures(run),
        shown=list(figures.curves_of(run, MAIN)),
        alarms=_alarms(run),
        refusals=run.events.refusals,
        METRICS=METRICS,
    )


def _headline(run: Run) -> list[tuple[str, str, float | None]]:
    """Return (predictor, what it is, its accuracy) of all three."""
    return [(p, GLOSSES[p], _accuracy(run, p)) for p in PREDICTORS]


def _accuracy(run: Run, predictor: str) -> float | None:
    """Return the final accuracy or, while the run is unfinished, that on the tasks so far."""
    if run.summary:
        return run.summary.measures(predictor, MAIN).final_accuracy
    return last(curve(select(run.scores, predictor, MAIN)))


def _gain(run: Run) -> float | None:
    """Return how far ``together`` lies above the better side, None where one is unknown."""
    small, large, together = (_accuracy(run, predictor) for predictor in PREDICTORS)
    if small is None or large is None or together is None:
        return None
    return together - max(small, large)


def _results(run: Run) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Return (protocol, [(predictor, metrics as text)]) of a finished run."""
    if not run.summary:
        return []
    return [
        (
            protocol,
            [
                (p, [metric(run.summary.measures(p, protocol), name) for name in METRICS])
                for p in PREDICTORS
            ],
        )
        for protocol in PROTOCOLS
    ]


def _alarms(run: Run) -> list[tuple[str, int]]:
    """Return each warning once, with how often it was given."""
    return list(Counter(alarm.message for alarm in run.events.alarms).items())


def _figures(run: Run) -> dict[str, list[str]]:
    """Return the page's figures as markup, by section; a section without data is empty."""
    from markupsafe import Markup

    drawn = _accuracy_figures(run) | _cost_figures(run)
    return {section: [Markup(svg) for svg in found] for section, found in drawn.items()}


def _accuracy_figures(run: Run) -> dict[str, list[str]]:
    mean = figures.curves_of(run, MAIN)
    if not mean:
        return {"tasks": [], "clients": [], "finals": [], "heat": []}
    own = {client: figures.curves_of(run, MAIN, client) for client in run.clients}
    own = {client: curves for client, curves in own.items() if curves}
    limits = figures.limits_of([points for curves in own.values() for points in curves.values()])
    finals = {c: {p: points[-1][1] for p, points in curves.items()} for c, curves in own.items()}
    return {
        "tasks": [
            figures.accuracy_over_tasks("tasks", mean, figures.limits_of(list(mean.values())))
        ],
        "clients": [
            figures.accuracy_of_client(f"client-{place}", client, curves, limits)
            for place, (client, curves) in enumerate(own.items())
        ],
        "finals": [bars.accuracy_by_client("finals", finals)],
        "heat": [
            cells.accuracy_heat_map(f"heat-{p}", heat(select(run.scores, p, MAIN)), p) for p in mean
        ],
    }


def _cost_figures(run: Run) -> dict[str, list[str]]:
    rounds, lessons = run.events.rounds, run.events.lessons
    seconds = run.summary.seconds if run.summary else {}
    taught = lesson_weights(lessons, run.clients)
    return {
        "lessons": [cells.lesson_matrix("lessons", *taught)] if lessons else [],
        "traffic": [bars.traffic("traffic", rounds)] if rounds else [],
        "phases": [bars.time_by_phase("phases", seconds)] if seconds else [],
    }
