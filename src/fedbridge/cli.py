"""The command line: run, resume, check, list, report, compare, bench, data, deploy."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedbridge.data_cli import data
from fedbridge.deploy.commands import app as deploy
from fedbridge.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from fedbridge.bench import Job
    from fedbridge.config import Config
    from fedbridge.experiment import Connect, Experiment
    from fedbridge.runs import Run

app = typer.Typer(
    name="fedbridge",
    help="Federated continual learning in which large and small models help each other.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data, name="data")
app.add_typer(deploy)
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
    engine: Annotated[
        Literal["local", "flower"] | None,
        typer.Option(help="local, or flower for Flower's simulation; as the config says."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Run an experiment from a config file."""
    from fedbridge.config import load_config
    from fedbridge.experiment import Experiment
    from fedbridge.runs import Run

    chosen = [f"engine.kind={engine}"] if engine else []
    settings = load_config(config, (overrides or []) + chosen)
    connect = engine_of(settings)
    folder = out or Path("runs") / config.stem
    _clear_unstarted(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    opened = Run.create(folder, settings)
    experiment = Experiment(opened, connect=connect(opened))
    try:
        _conduct(experiment, quiet)
    except UserError:
        if not experiment.prepared:  # refused: nothing is left to go on with
            _clear_unstarted(folder)
            with suppress(OSError):  # somebody else may have put something there
                for path in made:
                    path.rmdir()
        raise


@app.command()
def resume(folder: Folder, quiet: Quiet = False) -> None:
    """Go on with a run from its newest whole checkpoint."""
    from fedbridge.experiment import Experiment
    from fedbridge.runs import SUMMARY, Run

    opened = Run.open(folder)
    if (folder / SUMMARY).is_file():
        _show(folder, quiet, f"{folder}: this run is finished; there is nothing to go on with")
    else:
        _conduct(Experiment(opened, connect=engine_of(opened.config)(opened)), quiet)


@app.command()
def check(
    config: Settings,
    overrides: Overrides = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the data set if it is not cached yet.")
    ] = False,
) -> None:
    """Validate a config and estimate time, memory and bytes; nothing is run."""
    from rich.console import Console

    from fedbridge.config import load_config
    from fedbridge.estimate import estimate

    Console().print(estimate(load_config(config, overrides), download).table())


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
    _show(folder)


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


@app.command()
def bench(
    suite: Annotated[Path, typer.Argument(help="A suite's TOML file.", metavar="SUITE")],
    out: Annotated[
        Path, typer.Option(help="Results lie in a folder of the suite's name here.", metavar="DIR")
    ] = Path("results"),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; as many as cores by default.")
    ] = None,
    only: Annotated[
        str, typer.Option(help="Pattern of SCENARIO--METHOD--SEED.", metavar="PATTERN")
    ] = "*",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run.")] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Write anew what is there; run nothing.")
    ] = False,
) -> None:
    """Run a grid of methods, scenarios and seeds; write its tables, figures and summary."""
    from fnmatch import fnmatchcase

    from rich.console import Console

    from fedbridge.bench import jobs_of, load_suite, show_plan, write_results

    console, results = Console(), out / suite.stem
    every = jobs_of(suite, load_suite(suite), results)
    chosen = [job for job in every if fnmatchcase(job.name, only)]
    if not chosen:
        raise UserError(f"--only: must fit a run such as {every[0].name}, found {only!r}")
    if dry_run:
        show_plan(console, chosen, results)
        return
    failed = 0 if report_only else _carry_out(suite, chosen, results, jobs)
    if not failed or any(job.state() == "done" for job in every):
        console.print(f"summary: {write_results(results, every)}", soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def _carry_out(suite: Path, chosen: "Sequence[Job]", results: Path, slots: int | None) -> int:
    """Carry out the chosen runs of a suite and return how many failed."""
    from rich.console import Console

    from fedbridge.bench import conduct, only_bench, show_failures

    try:
        with _politely(), only_bench(results), _logged(Console()):
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
            slots = slots or cores or os.cpu_count() or 1
            failed = conduct(Console(), suite, chosen, results, slots)
    except KeyboardInterrupt:
        typer.echo("stopped; what was begun goes on with the same command", err=True)
        raise typer.Exit(130) from None
    show_failures(Console(stderr=True), failed)
    return len(failed)


@contextmanager
def _politely() -> Iterator[None]:
    """Let a polite kill end like Ctrl-C: processes are stopped, checkpoints are whole."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _conduct(experiment: "Experiment", quiet: bool) -> None:
    from rich.console import Console

    folder = experiment.run.folder
    try:
        with _politely():
            _follow(experiment, Console(quiet=quiet))
    except KeyboardInterrupt:
        typer.echo(f"stopped; go on with: fedbridge resume {folder}", err=True)
        raise typer.Exit(130) from None
    _show(folder, quiet)


def _follow(experiment: "Experiment", console: "Console") -> None:
    """Carry a run out and say how far it is: as a bar, or line by line where none can move."""
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=None),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(compact=True),
        bars.TextColumn("{task.fields[accuracy]}"),
    )
    period = 7 * 24 * 3600.0  # a round may take long, so the speed is that of all rounds so far
    bar = bars.Progress(
        *columns,
        console=console,
        speed_estimate_period=period,
        expand=True,
        disable=not console.is_terminal,
    )
    line = bar.add_task("preparing", total=None, accuracy="")

    def encoding(done: int, wanted: int) -> None:
        place = "the FM encodes" if done < wanted else "first round"
        bar.update(line, description=place, completed=done, total=wanted)

    experiment.tell = encoding
    with bar, _logged(console):
        for number, progress in enumerate(experiment.conduct()):
            place = f"task {progress.step.task} round {progress.step.round}"
            if number == 0:  # neither preparations nor an earlier session are a measure of speed
                bar.reset(line, total=progress.total)
            bar.update(
                line,
                description=place,
                completed=progress.done,
                total=progress.total,
                accuracy=progress.accuracy(),
            )
            if not console.is_terminal:
                console.print(f"{place}: {progress.accuracy()}")


def engine_of(config: "Config") -> "Callable[[Run], Connect]":
    """Return what connects a run to its clients; raise UserError if what it needs is missing."""
    from functools import partial

    from fedbridge.experiment import connect_locally

    if config.engine.kind == "local":
        return lambda run: connect_locally
    try:
        from fedbridge.simulation import connect_simulated
    except ModuleNotFoundError as error:
        raise UserError(
            f'engine.kind: "flower" needs the extra of that name, and {error.name} is not there: '
            "pip install 'fedbridge[flower]'"
        ) from error
    return lambda run: partial(connect_simulated, run)


@contextmanager
def _logged(console: "Console") -> Iterator[None]:
    """Show what the package says meanwhile, such as which download is under way."""
    from rich.logging import RichHandler

    log = logging.getLogger("fedbridge")
    handler = RichHandler(console=console, show_time=False, show_level=False, show_path=False)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _show(folder: Path, quiet: bool = False, remark: str = "") -> None:
    from rich.console import Console

    from fedbridge.report import result_table, write_page

    console = Console(quiet=quiet)
    page = write_page(folder)
    if remark:
        console.print(remark, soft_wrap=True)
    console.print(result_table(folder))
    console.print(f"page: {page}", soft_wrap=True)


def _clear_unstarted(folder: Path) -> None:
    """Make a folder free again if its run failed before it could measure anything."""
    from fedbridge.experiment import alone
    from fedbridge.runs import CONFIG, ENVIRONMENT, EVENTS

    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if CONFIG in found and found <= {CONFIG, ENVIRONMENT, EVENTS}:
        with alone(folder):
            for name in found:
                (folder / name).unlink()


def main() -> None:
    """Run the command line; a user's mistake ends with one line and exit code 2."""
    try:
        code = app(prog_name="fedbridge", standalone_mode=False)
    except UserError as error:
        code = _complain(str(error))
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
