"""What serves the dashboard, and the address where it listens."""

import socket
from collections.abc import Collection, Sequence
from pathlib import Path

import uvicorn

from fedbridge.dashboard.app import build_app
from fedbridge.errors import UserError


def server(roots: Sequence[Path], names: Collection[str]) -> uvicorn.Server:
    """Return a server that shows the runs below some folders to who calls it by these names."""
    settings = uvicorn.Config(
        build_app(roots, names),
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(settings)


def address_of(bound: socket.socket, host: str) -> str:
    """Return the address of the page at a socket that listens at a host."""
    shown = f"[{host}]" if bound.family == socket.AF_INET6 else host
    return f"http://{shown}:{bound.getsockname()[1]}/"


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
