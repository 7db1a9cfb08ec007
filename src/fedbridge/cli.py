"""The command line: run, resume, check, list, report, compare."""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fedbridge.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from fedbridge.experiment import Experiment
    from fedbridge.runs import Run

app = typer.Typer(
    name="fedbridge",
    help="Federated continual learning in which large and small models help each other.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")]
Settings = Annotated[Path, typer.Argument(help="A TOML file.", metavar="CONFIG")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: a.b=value.", metavar="A.B=V")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


@app.command()
def run(
    config: Settings,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; runs/NAME by default.", metavar="DIR")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run an experiment from a config file."""
    from fedbridge.config import load_config
    from fedbridge.runs import Run

    settings = load_config(config, overrides)
    _conduct(Run.create(out or Path("runs") / config.stem, settings), quiet)


@app.command()
def resume(folder: Folder, quiet: Quiet = False) -> None:
    """Go on with a run from its newest whole checkpoint."""
    from fedbridge.runs import Run

    _conduct(Run.open(folder), quiet)


@app.command()
def check(config: Settings, overrides: Overrides = None) -> None:
    """Validate a config and estimate its time, memory and bytes; nothing is run or saved."""
    from rich.console import Console

    from fedbridge.config import load_config
    from fedbridge.estimate import estimate

    Console().print(estimate(load_config(config, overrides)).table())


@app.command("list")
def list_entries(
    what: Annotated[
        Literal["learners", "fusions", "models", "datasets"],
        typer.Argument(help="learners, fusions, models or datasets."),
    ],
) -> None:
    """List what a config can name."""
    from rich.console import Console

    from fedbridge.listing import listing

    Console().print(listing(what))


@app.command()
def report(folder: Folder) -> None:
    """Write the page of a run and print its table."""
    from rich.console import Console

    from fedbridge.report import result_table, write_page

    page = write_page(folder)
    Console().print(result_table(folder))
    typer.echo(f"page: {page}")


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Runs' folders.", metavar="RUN...")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Compare runs; seeds of one method are averaged."""
    from rich.console import Console

    from fedbridge.report import compare_markdown, compare_table

    if markdown:
        typer.echo(compare_markdown(folders))
    else:
        Console().print(compare_table(folders))


def _conduct(run: "Run", quiet: bool) -> None:
    from rich.console import Console

    from fedbridge.experiment import Experiment
    from fedbridge.report import result_table, write_page

    console = Console(quiet=quiet)
    # a polite kill ends like Ctrl-C: workers are stopped, checkpoints are whole
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _follow(Experiment(run), console)
    except KeyboardInterrupt:
        typer.echo(f"stopped; go on with: fedbridge resume {run.folder}", err=True)
        raise typer.Exit(130) from None
    page = write_page(run.folder)
    console.print(result_table(run.folder))
    console.print(f"page: {page}", soft_wrap=True)


def _follow(experiment: "Experiment", console: "Console") -> None:
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[accuracy]}"),
    )
    with Progress(*columns, console=console, disable=console.quiet) as bar:
        line = bar.add_task("preparing", total=None, accuracy="")
        for progress in experiment.conduct():
            bar.update(
                line,
                description=f"task {progress.step.task} round {progress.step.round}",
                completed=progress.done,
                total=progress.total,
                accuracy=progress.accuracy(),
            )


def main() -> None:
    """Run the command line; a user's mistake ends with one line and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
