"""The application: what is asked is read within limits, predicted one request at a time, answered.

Nothing of a request is kept or logged.
"""

import base64
import binascii
import threading
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import FastAPI, File, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from fedbridge.core.errors import UserError
from fedbridge.inference import Predictor, Using
from fedbridge.inference.serving.limits import BodyGate, HostGate, Limits
from fedbridge.inference.serving.messages import (
    Answers,
    Asked,
    Guess,
    Health,
    Problem,
    Top,
    asked_of,
    using_of,
)
from fedbridge.inference.serving.metrics import FORM, Counted, Metrics

PATHS = ("/predict", "/predict/files", "/health", "/metrics", "/openapi.json")
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "An item cannot be read"},
    408: {"model": Problem, "description": "The body came too slowly"},
    413: {"model": Problem, "description": "The body is too large"},
}


def create_app(
    predictor: Predictor, limits: Limits | None = None, names: Collection[str] | None = None
) -> FastAPI:
    """Return the service of a predictor as an ASGI application.

    It answers who calls it by one of ``names``; None: by any, where something before it looks.
    """
    limits = limits or Limits()
    metrics = Metrics()
    # pages that would load scripts from elsewhere are left out; /openapi.json says everything
    app = FastAPI(
        title="fedbridge",
        description="Predictions of one client's models.",
        version="1",
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(BodyGate, limits=limits)
    if names is not None:
        app.add_middleware(HostGate, names=names)
    app.add_middleware(Counted, metrics=metrics, paths=PATHS)
    app.add_exception_handler(UserError, _refused)
    app.add_exception_handler(RequestValidationError, _misformed)
    service = Service(predictor, limits, metrics)
    _offer_health(app, service)
    _offer_predictions(app, service)
    if predictor.reading.modality == "image":
        _offer_files(app, service)
    return app


class Service:
    """A predictor that answers one request at a time, whatever comes at once."""

    def __init__(self, predictor: Predictor, limits: Limits, metrics: Metrics) -> None:
        self.predictor = predictor
        self.limits = limits
        self.metrics = metrics
        self._turn = threading.Lock()

    def answer(self, items: list[str] | list[bytes], using: Using | None, top: int) -> Answers:
        """Predict items; raise UserError if one cannot be read or ``using`` is not there."""
        chosen = self.predictor.chosen(using)
        with self._turn, self.metrics.predicting(chosen, len(items)):
            read = self.predictor.reading(items, self.limits.pixels)
            shares = self.predictor.logits(*read, chosen).softmax(1)
            best = shares.topk(min(top, shares.shape[1]))
        names = self.predictor.classes
        predictions = [
            [
                Guess(label=names[place], probability=share)
                for place, share in zip(places, row, strict=True)
            ]
            for places, row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        return Answers(using=chosen, predictions=predictions)

    def health(self) -> Health:
        """Report that the service is running, and what it offers."""
        known = self.predictor
        return Health(
            status="ok",
            modality=known.reading.modality,
            classes=list(known.classes),
            usable=list(known.usable),
        )


def _offer_health(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    def health() -> Health:
        """Report that the service is running, and what it offers."""
        return service.health()

    @app.get("/metrics", response_class=Response, responses={200: {"content": {FORM: {}}}})
    def metrics() -> Response:
        """Return counts and durations as Prometheus reads them."""
        return Response(service.metrics.text(), media_type=FORM)


def _offer_predictions(app: FastAPI, service: Service) -> None:
    form = asked_of(service.predictor, service.limits)

    def predict(asked: Asked) -> Answers:
        """Predict texts, or pictures as base64."""
        items: list[str] | list[bytes] = asked.items
        if service.predictor.reading.modality == "image":
            items = [_decoded(place, text) for place, text in enumerate(asked.items)]
        return service.answer(items, asked.using, asked.top)

    predict.__annotations__["asked"] = form  # with this service's limits
    app.post("/predict", responses=REFUSALS)(predict)


def _offer_files(app: FastAPI, service: Service) -> None:
    def predict_files(files: list[UploadFile], using: Using | None = None, top: Top = 1) -> Answers:
        """Predict pictures that are sent as the files of a form."""
        return service.answer([file.file.read() for file in files], using, top)

    many = File(min_length=1, max_length=service.limits.items)
    predict_files.__annotations__["files"] = Annotated[list[UploadFile], many]
    predict_files.__annotations__["using"] = using_of(service.predictor)
    app.post("/predict/files", responses=REFUSALS)(predict_files)


def _decoded(place: int, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"items[{place}]: must be base64: {error}") from error


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


async def _misformed(request: Request, error: Exception) -> JSONResponse:
    """Return what is wrong with the form of a request, without repeating what was sent."""
    assert isinstance(error, RequestValidationError)
    told = [{key: one[key] for key in ("loc", "msg", "type")} for one in error.errors()]
    return JSONResponse({"detail": told}, 422)
