"""The command line's part about the dashboard: ``fedbridge dashboard``."""

from pathlib import Path
from typing import Annotated

import typer

from fedbridge.errors import UserError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def dashboard(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Runs, or folders in which they lie; runs by default.", metavar="RUNS"),
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8137,
    host: Annotated[
        str, typer.Option(help="The address to listen at; others than this machine's can then ask.")
    ] = LOOPBACK[0],
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="A name by which browsers call it; may be repeated."),
    ] = None,
) -> None:
    """Show all runs on a local page: filter, compare, follow them."""
    try:
        from fedbridge.dashboard.serving import serve
    except ModuleNotFoundError as error:
        raise UserError(
            f"dashboard: needs the extra of that name, and {error.name} is not there: "
            'pip install "fedbridge[dashboard]"'
        ) from error
    roots = folders or [Path("runs")]
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root}: must be a folder with runs, found none")
    if host not in LOOPBACK and not names:
        raise UserError(
            f"--name: must be given with --host {host}: the name or address that browsers will "
            "ask for; whoever can reach it can read all these runs"
        )
    serve(roots, host, port, [*LOOPBACK, host, *(names or [])])
