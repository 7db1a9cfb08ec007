"""What a request may ask for, and the gate that refuses larger ones before they are read."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, fields, replace

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedbridge.core.errors import UserError
from fedbridge.core.web import stranger

AT_ONCE = 64
"""Requests that may wait for an answer at a time; others are refused for now (503)."""
BUSY = "too many requests wait already: come back later"


@dataclass(frozen=True)
class Limits:
    """The most that one request may bring."""

    body: int = 16 * 2**20
    """Bytes of its body."""
    items: int = 64
    """Items."""
    letters: int = 10_000
    """Letters of a text."""
    pixels: int = 16 * 2**20
    """Pixels of a picture, whatever the size of its file."""
    seconds: int = 30
    """Seconds until its body has come."""


def limits_of(overrides: list[str]) -> Limits:
    """Return the limits with ``WHAT=N`` laid over them; raise UserError if one is no such thing."""
    known = [field.name for field in fields(Limits)]
    changed: dict[str, int] = {}
    for text in overrides:
        name, _, value = text.partition("=")
        if name not in known or not value.isdecimal() or not int(value):
            raise UserError(
                f"--limit: must be one of {', '.join(known)}, =, and a number above 0, found "
                f"{text!r}"
            )
        changed[name] = int(value)
    return replace(Limits(), **changed)


class HostGate:
    """Refuses requests that do not call this machine by one of its names."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app = app
        self.names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 421, or let the application have the request."""
        refusal = stranger(scope, self.names, "serve") if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, send)


class BodyGate:
    """Takes a request's body in, as far as it may be; what is larger or too slow is refused.

    So is what comes when there is already as much as ``AT_ONCE`` bodies of the largest size, or
    when as many requests wait for their answers.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits
        self._held = 0  # bytes of bodies
        self._waiting = 0  # requests whose bodies have come

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or 408, or let the application have the request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parts: list[bytes] = []
        try:
            answer = await self._read(receive, parts)
            if answer is None and scope["method"] == "POST":
                await self._in_turn(scope, b"".join(parts), receive, send)
            else:
                await (answer or _replayed(self.app, b"".join(parts)))(scope, receive, send)
        finally:
            self._held -= sum(map(len, parts))

    async def _read(self, receive: Receive, parts: list[bytes]) -> JSONResponse | None:
        """Receive a body in parts; return why it is refused."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self._take(receive, parts)
        except TimeoutError:
            return _refusal(408, f"the body must come within {self.limits.seconds} s")

    async def _take(self, receive: Receive, parts: list[bytes]) -> JSONResponse | None:
        size = 0
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self._held += len(parts[-1])
            if size > self.limits.body or message["type"] == "http.disconnect":
                return _refusal(413, f"the body must have at most {self.limits.body:,} bytes")
            if self._held > AT_ONCE * self.limits.body:
                return _refusal(503, BUSY)
            if not message.get("more_body", False):
                return None

    async def _in_turn(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        if self._waiting >= AT_ONCE:
            await _refusal(503, BUSY)(scope, receive, send)
            return
        self._waiting += 1
        try:
            await _replayed(self.app, body)(scope, receive, send)
        finally:
            self._waiting -= 1


def _replayed(app: ASGIApp, body: bytes) -> ASGIApp:
    """Return an application to which a body that was taken in comes once more."""

    async def replaying(scope: Scope, receive: Receive, send: Send) -> None:
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await app(scope, replay, send)

    return replaying


def _refusal(status: int, rule: str) -> JSONResponse:
    return JSONResponse({"detail": rule}, status, headers={"Connection": "close"})
