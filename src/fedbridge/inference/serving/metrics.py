"""Counts and durations of a service, as Prometheus reads them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORM = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """What one application has done; nothing in it reveals the content of a request."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "fedbridge_requests", "Requests", ["path", "status"], registry=self.registry
        )
        self.items = Counter(
            "fedbridge_items", "Items predicted", ["using"], registry=self.registry
        )
        self.seconds = Histogram(
            "fedbridge_prediction_seconds", "Seconds per request", registry=self.registry
        )

    @contextmanager
    def predicting(self, using: str, count: int) -> Iterator[None]:
        """Time a prediction, and count its items if it succeeds."""
        start = time.perf_counter()
        yield
        self.seconds.observe(time.perf_counter() - start)
        self.items.labels(using).inc(count)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self.registry)


class Counted:
    """Counts requests by path and status; paths that do not exist are one."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: tuple[str, ...]) -> None:
        self.app = app
        self.metrics = metrics
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer and note how."""
        path = scope.get("path", "")

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = path if path in self.paths else "other"
                self.metrics.requests.labels(known, message["status"]).inc()
            await send(message)

        await self.app(scope, receive, noting)
