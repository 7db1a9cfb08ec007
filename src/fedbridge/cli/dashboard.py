"""The command line's part about the dashboard: ``fedbridge dashboard``."""

from pathlib import Path
from typing import Annotated

import typer

from fedbridge.core.addresses import LOOPBACK
from fedbridge.report.dashboard.dashboard import PORT, Dashboard


def dashboard(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Runs, or folders in which they lie; runs by default.", metavar="RUNS"),
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = PORT,
    host: Annotated[
        str, typer.Option(help="The address to listen at; others than this machine's can then ask.")
    ] = LOOPBACK[0],
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name by which browsers call it; may be repeated."),
    ] = None,
) -> None:
    """Show all runs on a local page: filter, compare, follow them."""
    page = Dashboard(*(folders or ()), port=port, host=host, names=names or ())
    typer.echo(f"dashboard: {page.address}  (Ctrl-C ends it)")
    try:
        page.serve()
    except KeyboardInterrupt:  # uvicorn has ended by then, and raises it again
        typer.echo("stopped", err=True)
