"""Serves the dashboard until it is stopped."""

from collections.abc import Collection, Sequence
from pathlib import Path

from fedbridge.dashboard.app import build_app
from fedbridge.web import listening, serve_until_stopped


def serve(roots: Sequence[Path], host: str, port: int, names: Collection[str]) -> None:
    """Show the runs below some folders; raise UserError if the address cannot be had."""
    with listening("dashboard", host, port) as bound:
        serve_until_stopped(
            "dashboard",
            build_app(roots, names),
            bound,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
