"""The command line's part about data: ``fedbridge data``."""

from pathlib import Path
from typing import Annotated

import typer

from fedbridge.cli.arguments import Overrides
from fedbridge.cli.completion import config_files

data = typer.Typer(help="Look at data before a run.", no_args_is_help=True, rich_markup_mode=None)


@data.command()
def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="A config, or a site.toml.", metavar="FILE", autocompletion=config_files
        ),
    ],
    common: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="The common config of a site; config.toml beside it by default.",
            metavar="CONFIG",
            autocompletion=config_files,
        ),
    ] = None,
    overrides: Overrides = None,
    html: Annotated[Path | None, typer.Option(help="Write a page as well.", metavar="PATH")] = None,
) -> None:
    """Show what is in the data, and how they are divided.

    Classes, sizes and splits, duplicates, broken items, doubtful labels. The exit
    code is 1 if a run could not use the data.
    """
    from rich.console import Console

    from fedbridge.report.inspection import inspect_file, show, write_inspection
    from fedbridge.runs.live import patient, saying

    try:
        with patient(saying(Console(stderr=True))):
            found = inspect_file(path, common, overrides)
    except KeyboardInterrupt:
        again = "stopped; nothing half-read was kept, and the same command begins again"
        typer.echo(again, err=True)
        raise typer.Exit(130) from None
    console = Console()
    show(found, console)
    if html is not None:
        write_inspection(found, html)
        console.print(f"page: {html}", soft_wrap=True, markup=False)
    raise typer.Exit(1 if found.unusable else 0)
