"""What serves the dashboard."""

from collections.abc import Collection, Sequence
from pathlib import Path

import uvicorn

from fedbridge.dashboard.app import build_app


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
