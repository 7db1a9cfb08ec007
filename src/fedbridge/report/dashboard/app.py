"""The dashboard's pages: all runs, one run, several compared; each also without its frame."""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from fedbridge.config.flat import settings_of
from fedbridge.core.legible import on_page
from fedbridge.core.metrics import PREDICTORS, PROTOCOLS
from fedbridge.core.wording import UNKNOWN, duration, fault, percent, size
from fedbridge.report.dashboard.catalogue import Catalogue
from fedbridge.report.dashboard.charts import LETTERS, Charts
from fedbridge.report.dashboard.entry import Entry
from fedbridge.report.dashboard.guard import Guard
from fedbridge.report.dashboard.view import MOST, View, choices
from fedbridge.report.run.figures import curves_of

NEWEST = 40  # events shown of a run
STATIC = {
    "palette.css": ("fedbridge.report.run", "templates/palette.css", "text/css"),
    "dashboard.css": ("fedbridge.report.dashboard", "static/dashboard.css", "text/css"),
    "live.js": ("fedbridge.report.dashboard", "static/live.js", "text/javascript"),
}


def build_app(roots: Sequence[Path], names: Collection[str]) -> Starlette:
    """Return the application that shows the runs below some folders to who asks by these names."""
    pages = Pages(Catalogue(roots))
    return Starlette(
        routes=[
            Route("/", pages.runs),
            Route("/compare", pages.compare),
            Route("/run/{name:str}", pages.run),
            Route("/run/{name:str}/report", pages.report),
            Route("/static/{file:str}", static),
        ],
        middleware=[Middleware(Guard, names=names)],
    )


def static(request: Request) -> Response:
    """Return one of the pages' own files, none of which is looked for by name on the disk."""
    if request.path_params["file"] not in STATIC:
        return _missing("no such file")
    package, name, kind = STATIC[request.path_params["file"]]
    return Response(files(package).joinpath(name).read_bytes(), media_type=kind)


class Pages:
    """What is answered to each address; a parameter ``part`` asks for what changes alone."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.charts = Charts()
        self.templates = Environment(
            loader=PackageLoader("fedbridge.report.dashboard", "pages"),
            autoescape=True,
            finalize=on_page,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.filters |= {"percent": percent, "size": size, "duration": duration}
        self.templates.filters["moment"] = _moment
        self.templates.globals["PREDICTORS"] = PREDICTORS

    def runs(self, request: Request) -> Response:
        """Return all runs as a table."""
        view, entries = _view(request), self.catalogue.entries()
        rows = view.rows(entries.values())
        return self._page(
            request,
            "runs.html",
            view=view,
            rows=rows,
            total=len(entries),
            choices=choices(entries.values()),
            roots=self.catalogue.roots,
            chosen=[name for name in view.chosen if name in entries],
            MOST=MOST,
        )

    def compare(self, request: Request) -> Response:
        """Return the chosen runs side by side."""
        view, entries = _view(request), self.catalogue.entries()
        found = [entries[name] for name in view.chosen if name in entries][:MOST]
        return self._page(
            request,
            "compare.html",
            view=view,
            rows=list(zip(LETTERS, found, strict=False)),
            left_out=len(view.chosen) - len(found),
            figure=self.charts.compared(found, view.predictor),
            differences=_differences(found),
        )

    def run(self, request: Request) -> Response:
        """Return one run, as far as it has come."""
        entry = self.catalogue.entries().get(request.path_params["name"])
        if entry is None:
            return _missing("no such run; it may have been removed")
        latest = {}
        if entry.run:
            own = {c: curves_of(entry.run, PROTOCOLS[0], c) for c in entry.run.clients}
            latest = {c: {p: points[-1] for p, points in of.items()} for c, of in own.items()}
        return self._page(
            request,
            "run.html",
            entry=entry,
            latest=latest,
            figures=self.charts.of_run(entry),
            faults=[words for event in entry.events if (words := fault(event))][-NEWEST:][::-1],
            events=entry.events[-NEWEST:][::-1],
            words=_words,
        )

    def report(self, request: Request) -> Response:
        """Return the whole report of one run; it is drawn, not taken from the folder."""
        entry = self.catalogue.entries().get(request.path_params["name"])
        if entry is None or entry.run is None:
            return _missing("no such run, or one that cannot be read")
        policy = "frame-ancestors 'none'; base-uri 'none'"  # the page itself says what it may load
        return HTMLResponse(
            self.charts.report(entry.run), headers={"content-security-policy": policy}
        )

    def _page(self, request: Request, template: str, **shown: Any) -> Response:
        part = "part" in request.query_params
        text = self.templates.get_template(template).render(part=part, **shown)
        tag = f'"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return HTMLResponse(text, headers={"etag": tag})


def _view(request: Request) -> View:
    return View.of(request.query_params.multi_items())


def _missing(words: str) -> Response:
    return PlainTextResponse(f"{words}\n", 404)


def _differences(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Return the settings to which runs give different values, with the value of each."""
    known = [settings_of(entry.run.config) if entry.run else {} for entry in entries]
    keys = dict.fromkeys(key for settings in known for key in settings)
    given = {key: {str(s[key]) for s in known if key in s} for key in keys}
    return {
        key: [str(settings.get(key, UNKNOWN)) for settings in known]
        for key, values in given.items()
        if len(values) > 1
    }


def _words(event: dict[str, Any]) -> str:
    """Return an event in words."""
    if words := fault(event):
        return words
    if event["kind"] == "round":
        up, down = size(event["bytes_up"]), size(event["bytes_down"])
        took = duration(event.get("seconds"))
        return f"task {event['task']}, round {event['round']}: {took}, {up} up, {down} down"
    if event["kind"] == "data":
        return f"data: {event['items']} items of {event['classes']} classes of {event['name']}"
    shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in event.items()}
    rest = ", ".join(f"{k} {v}" for k, v in shown.items() if k not in ("time", "kind"))
    return f"{event['kind']}: {rest}"


def _moment(when: float) -> str:
    return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M")
