"""What serves the dashboard."""

from collections.abc import Collection, Sequence
from pathlib import Path

import uvicorn

from fedbridge.core.web import server_of
from fedbridge.report.dashboard.app import build_app


def server(roots: Sequence[Path], names: Collection[str]) -> uvicorn.Server:
    """Return a server that shows the runs below some folders to who calls it by these names."""
    return server_of(
        build_app(roots, names),
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
