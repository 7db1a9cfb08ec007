"""What a request may ask for, and the gate that refuses larger ones before they are read."""

import asyncio
from dataclasses import dataclass, fields, replace

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedbridge.errors import UserError


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


class BodyGate:
    """Takes a request's body in, as far as it may be; what is larger or too slow is refused."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or 408, or let the application have the request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await self._body(receive)
        except TimeoutError:
            await _refusal(408, f"the body must come within {self.limits.seconds} s")(
                scope, receive, send
            )
            return
        if body is None:
            rule = f"the body must have at most {self.limits.body:,} bytes"
            await _refusal(413, rule)(scope, receive, send)
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, replay, send)

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the whole body, None if it is too large or nobody is there any more."""
        parts: list[bytes] = []
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            if sum(map(len, parts)) > self.limits.body or message["type"] == "http.disconnect":
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


def _refusal(status: int, rule: str) -> JSONResponse:
    return JSONResponse({"detail": rule}, status, headers={"Connection": "close"})
