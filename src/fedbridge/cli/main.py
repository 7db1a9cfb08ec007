"""The command line: run, resume, check, list, report, compare, bench; others are added to it."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedbridge import __version__
from fedbridge.cli import completion
from fedbridge.cli.arguments import Folder, Folders, Overrides, Quiet, Settings, Suite
from fedbridge.cli.dashboard import dashboard
from fedbridge.cli.data import data
from fedbridge.cli.deploy import app as deploy
from fedbridge.cli.guidance import page_for
from fedbridge.cli.models import ship
from fedbridge.core.errors import UserError

if TYPE_CHECKING:
    from fedbridge.bench import Bench
    from fedbridge.runs.runner import Experiment

app = typer.Typer(
    name="fedbridge",
    help="Federated continual learning in which large and small models help each other.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")
app.add_typer(deploy)
app.add_typer(ship)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedbridge {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Say which version this is.", is_eager=True, callback=_tell_version
        ),
    ] = False,
) -> None:
    """Federated continual learning in which large and small models help each other."""


@app.command()
def run(
    config: Settings,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder; runs/NAME by default.", metavar="DIR")
    ] = None,
    engine: Annotated[
        Literal["local", "flower"] | None,
        typer.Option(help="local, or flower for Flower's simulation; as the config says."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard, mlflow or wandb; may be repeated.", metavar="TRACKER"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run an experiment from a config file."""
    from fedbridge.methods.files import load_config
    from fedbridge.runs.launch import launch

    chosen = [f"engine.kind={engine}"] if engine else []
    chosen += [f"track.to={json.dumps(track)}"] if track else []
    settings = load_config(config, (overrides or []) + chosen)
    with launch(out or Path("runs") / config.stem, settings) as experiment:
        _conduct(experiment, quiet)


@app.command()
def resume(folder: Folder, quiet: Quiet = False) -> None:
    """Resume a run from its newest whole checkpoint."""
    from fedbridge.runs.launch import resuming
    from fedbridge.runs.run import Run, is_finished

    Run.open(folder)
    if is_finished(folder):
        _show(folder, quiet, f"{folder}: this run is finished; there is nothing to go on with")
    else:
        _conduct(resuming(folder), quiet)


@app.command()
def check(
    config: Settings,
    overrides: Overrides = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the data set if it is not cached yet.")
    ] = False,
) -> None:
    """Validate a config and estimate time, memory and bytes.

    Nothing is run.
    """
    from rich.console import Console

    from fedbridge.methods.files import load_config
    from fedbridge.runs.estimate import estimate
    from fedbridge.runs.live import patient, saying

    with patient(saying(Console(stderr=True))):
        found = estimate(load_config(config, overrides), download)
    Console().print(found.table())


@app.command("list")
def list_entries(
    what: Annotated[
        str,
        typer.Argument(
            help="learners, fusions, heads, models, datasets, scenarios or metrics; or "
            "MODULE:NAME, a method, data set, scenario or metric of your own, whose options are "
            "listed.",
            autocompletion=completion.lists,
        ),
    ],
) -> None:
    """List what a config can name, or describe what is your own."""
    from rich.console import Console

    from fedbridge.cli.listing import listing

    Console().print(listing(what))


@app.command()
def report(folder: Folder) -> None:
    """Write the page of a run and print its table."""
    _show(folder)


@app.command()
def compare(
    folders: Folders,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Compare runs; seeds of one method are averaged."""
    from rich.console import Console

    from fedbridge.report.run import Comparison, compare_markdown

    if markdown:
        typer.echo(compare_markdown(folders))
    else:
        Console().print(Comparison(folders))


app.command()(dashboard)


@app.command()
def bench(
    suite: Suite,
    out: Annotated[
        Path, typer.Option(help="Results lie in a folder of the suite's name here.", metavar="DIR")
    ] = Path("results"),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; as many as cores by default.")
    ] = None,
    only: Annotated[
        str, typer.Option(help="Pattern of SCENARIO--METHOD--SEED.", metavar="PATTERN")
    ] = "*",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be run.")] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Only rewrite the report; run nothing.")
    ] = False,
) -> None:
    """Run a grid of methods, scenarios and seeds.

    Tables, figures and a summary of it are written.
    """
    from rich.console import Console

    from fedbridge.bench import Bench, show_plan

    console, grid = Console(), Bench(suite, out, only)
    if dry_run:
        show_plan(console, grid.plan())
        return
    failed = 0 if report_only else _carry_out(grid, jobs)
    if not failed or grid.has_results:
        console.print(f"summary: {grid.report()}", soft_wrap=True, markup=False)
    raise typer.Exit(1 if failed else 0)


def _carry_out(grid: "Bench", at_once: int | None) -> int:
    """Carry out the chosen runs of a suite and return how many failed."""
    from rich.console import Console

    from fedbridge.bench import show_failures
    from fedbridge.runs.live import logged

    try:
        with _politely(), logged(Console()):
            failed = grid.run(at_once, Console())
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues", err=True)
        raise typer.Exit(130) from None
    show_failures(Console(stderr=True), failed)
    return len(failed)


@contextmanager
def _politely() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C: processes are stopped, checkpoints are whole."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _conduct(experiment: "Experiment", quiet: bool) -> None:
    from rich.console import Console

    from fedbridge.runs.live import display
    from fedbridge.runs.tracking import tracking

    folder, console = experiment.run.folder, Console(quiet=quiet)
    try:
        with (
            _politely(),
            tracking(experiment.run) as track,
            display(experiment, console) as show,
        ):
            for progress in experiment.run_steps():
                show(progress)
                track(progress)
    except KeyboardInterrupt:
        typer.echo(f"stopped; go on with: fedbridge resume {folder}", err=True)
        raise typer.Exit(130) from None
    _show(folder, quiet)


def _show(folder: Path, quiet: bool = False, remark: str = "") -> None:
    from rich.console import Console

    from fedbridge.report.run import result_table, write_page

    console = Console(quiet=quiet)
    page = write_page(folder)
    if remark:
        console.print(remark, soft_wrap=True, markup=False)
    console.print(result_table(folder))
    console.print(f"page: {page}", soft_wrap=True, markup=False)


def main() -> None:
    """Run the command line; a user's mistake ends with a line, the page that helps, and code 2."""
    if os.environ.get(completion.VARIABLE) == "complete_bash":
        completion.join_settings(os.environ)
    try:
        code = app(prog_name="fedbridge", standalone_mode=False)
    except UserError as error:
        code = _complain(str(error))
        typer.echo(f"see {page_for(str(error))}", err=True)
    except typer.Abort:
        code = 130
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        code = _complain_of_usage(error)
    sys.exit(code)


def _complain(message: str) -> int:
    typer.echo(f"error: {message}", err=True)
    return 2


def _complain_of_usage(error: Any) -> int:
    message = str(error.format_message())
    if "\n" in message:  # the whole help, where no command was given
        typer.echo(message, err=True)
        return 2
    return _complain(f"{message.rstrip('.')}; see {error.ctx.command_path} --help")


if __name__ == "__main__":
    main()
