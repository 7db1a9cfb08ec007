"""Something behind an address of this machine: from the port that it takes until it is stopped."""

import socket
from typing import Any

import typer
import uvicorn

from fedbridge.errors import UserError


def serve_until_stopped(what: str, app: Any, bound: socket.socket, **settings: Any) -> None:
    """Answer at a socket that listens, and say where; ``settings`` are those of uvicorn."""
    typer.echo(f"{what}: {address_of(bound)}  (Ctrl-C ends it)")
    try:
        uvicorn.Server(uvicorn.Config(app, log_level="warning", **settings)).run(sockets=[bound])
    except KeyboardInterrupt:  # uvicorn has ended by then, and raises it again
        typer.echo("stopped", err=True)


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
