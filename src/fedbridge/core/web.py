"""Something behind an address of this machine: from the port that it takes until it is stopped."""

import asyncio
import ipaddress
import itertools
import socket
from collections.abc import Collection
from typing import Any

import typer
import uvicorn
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from fedbridge.core.addresses import EVERYWHERE
from fedbridge.core.errors import UserError

PATIENCE = 10.0
"""Seconds within which the whole head of a request must have arrived."""
MOST_WAITING = 512
"""Most connections that may wait at a time; for another, the one that has waited longest goes."""
_TURNS = itertools.count()
"""Who began to wait first: the clock of an event loop may only know milliseconds."""


class Prompt(H11Protocol):
    """A connection that is closed unless it says soon what it wants.

    Uvicorn waits for ever for the end of a head that has begun, or that never begins.
    """

    _timer: asyncio.TimerHandle | None = None
    _turn: int = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait, and make room if too many do."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST_WAITING:
            found = (one for one in self.connections if isinstance(one, Prompt))
            waiting = [one for one in found if one._timer]
            if len(waiting) > MOST_WAITING:
                min(waiting, key=lambda one: one._turn)._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._heard()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Process received bytes; with a whole head the waiting is over."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.cycle.response_complete:
            self._heard()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        self._heard()
        self._turn = next(_TURNS)
        self._timer = self.loop.call_later(PATIENCE, self._give_up)

    def _heard(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._heard()
        self.transport.abort()


def serve_until_stopped(what: str, app: Any, bound: socket.socket) -> None:
    """Answer at a socket that listens, and say where."""
    typer.echo(f"{what}: {address_of(bound)}  (Ctrl-C ends it)")
    try:
        server_of(app).run(sockets=[bound])
    except KeyboardInterrupt:  # uvicorn has ended by then, and raises it again
        typer.echo("stopped", err=True)


def server_of(app: Any, **settings: Any) -> uvicorn.Server:
    """Return what serves an application; ``settings`` are those of uvicorn."""
    config = uvicorn.Config(app, http=Prompt, ws="none", log_level="warning", **settings)
    return uvicorn.Server(config)


def stranger(scope: Scope, names: Collection[str], what: str) -> PlainTextResponse | None:
    """Return the refusal of a request that does not call this machine by one of its names.

    A foreign page can make a browser ask for a name that points to this machine, but the
    browser then says that name. It cannot do so with an address: among ``names`` one of
    ``EVERYWHERE`` stands for all addresses.
    """
    said = host_of(Headers(scope=scope).get("host", ""))
    known = {name.casefold() for name in names}
    if said in known or (_is_address(said) and not known.isdisjoint(EVERYWHERE)):
        return None
    return PlainTextResponse(f"unknown host: start {what} with --name and this name\n", 421)


def _is_address(said: str) -> bool:
    try:
        ipaddress.ip_address(said)
    except ValueError:
        return False
    return True


def host_of(header: str) -> str:
    """Return the name in a Host header, without its port and without brackets."""
    text = header.strip().casefold()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def address_of(bound: socket.socket) -> str:
    """Return the address of what a socket that listens gives access to."""
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if bound.family == socket.AF_INET6 else host
    return f"http://{shown}:{port}/"


def listening(what: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise UserError if the address is unknown or in use."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"{what}: {host}:{port} cannot be listened at: {error.strerror or error}; choose "
            "another --port, or 0 for a free one"
        ) from error
