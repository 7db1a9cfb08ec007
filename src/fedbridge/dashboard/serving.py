"""Serves the dashboard until it is stopped."""

import socket
from collections.abc import Collection, Sequence
from pathlib import Path

import typer
import uvicorn

from fedbridge.dashboard.app import build_app
from fedbridge.errors import UserError


def serve(roots: Sequence[Path], host: str, port: int, names: Collection[str]) -> None:
    """Show the runs below some folders; raise UserError if the address cannot be had."""
    with listening(host, port) as bound:
        family = bound.family == socket.AF_INET6
        shown = f"[{host}]" if family else host
        address = f"http://{shown}:{bound.getsockname()[1]}/"
        typer.echo(f"dashboard: {address}  (Ctrl-C ends it)")
        settings = uvicorn.Config(
            build_app(roots, names),
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        try:
            uvicorn.Server(settings).run(sockets=[bound])
        except KeyboardInterrupt:  # uvicorn has ended by then, and raises it again
            typer.echo("stopped", err=True)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise UserError if the address is unknown or in use."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"dashboard: {host}:{port} cannot be listened at: {error.strerror or error}; choose "
            "another --port, or 0 for a free one"
        ) from error
