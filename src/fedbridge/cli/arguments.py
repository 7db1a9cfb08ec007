"""The arguments that several commands take, with what the Tab key offers for each."""

from pathlib import Path
from typing import Annotated

import typer

from fedbridge.cli.completion import config_files, overrides, run_folders

Folder = Annotated[
    Path, typer.Argument(help="A run's folder.", metavar="RUN", autocompletion=run_folders)
]
Folders = Annotated[
    list[Path],
    typer.Argument(help="Runs' folders.", metavar="RUN...", autocompletion=run_folders),
]
Settings = Annotated[
    Path, typer.Argument(help="A TOML file.", metavar="CONFIG", autocompletion=config_files)
]
Suite = Annotated[
    Path, typer.Argument(help="A suite's TOML file.", metavar="SUITE", autocompletion=config_files)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override a setting: a.b=value.",
        metavar="A.B=V",
        autocompletion=overrides,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
