"""Results in the terminal and as Markdown: one run, or many runs compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedbridge.metrics import PREDICTORS, PROTOCOLS
from fedbridge.report.comparison import COMPARED, Line, compare
from fedbridge.report.folder import Measures, read_run
from fedbridge.report.wording import METRICS, metric

if TYPE_CHECKING:
    from rich.table import Table

HEADERS = ("method", "seed", *(f"{predictor} {METRICS[name]}" for predictor, name in COMPARED))


def result_table(run_folder: Path) -> "Table":
    """Return one run's metrics in %, a row per protocol and predictor.

    Raises UserError when the folder is no run; an unfinished run has dashes.
    """
    from rich.markup import escape

    run = read_run(run_folder)
    state = "" if run.summary else " (unfinished)"
    if refused := len(run.events.refusals):
        state += f", {refused} {'message' if refused == 1 else 'messages'} refused"
    table = _table(escape(f"{run.config.name}, seed {run.config.seed}{state}"))
    table.add_column("in %", no_wrap=True)
    _add_numbers(table, list(METRICS.values()))
    for protocol in PROTOCOLS:
        table.add_row(f"[bold]{protocol}[/bold]")
        for predictor in PREDICTORS:
            found = run.summary.measures(predictor, protocol) if run.summary else Measures()
            values = [metric(found, name) for name in METRICS]
            end = predictor == PREDICTORS[-1]
            table.add_row(f"  {predictor}", *values, end_section=end)
    return table


def compare_table(run_folders: list[Path], protocol: str = PROTOCOLS[0]) -> "Table":
    """Return a row per run, by method, and mean ± standard deviation over each method's seeds.

    Raises UserError when a folder is no run. The deviation is the sample's (n - 1); runs that
    differ in more than seed and engine are never averaged.
    """
    from rich.markup import escape

    table = _table(_title(protocol))
    table.add_column(HEADERS[0], overflow="fold")  # on a narrow terminal it alone gives way
    table.add_column(HEADERS[1], justify="right", no_wrap=True)
    _add_numbers(table, HEADERS[2:])
    for lines in _compared(run_folders, protocol):
        for line in lines:
            style = "bold" if line.is_mean else None
            end = line is lines[-1]
            cells = [cell.replace("± ", "±") for cell in line.cells]
            table.add_row(escape(line.method), line.seed, *cells, style=style, end_section=end)
    return table


def compare_markdown(run_folders: list[Path], protocol: str = PROTOCOLS[0]) -> str:
    """Return the comparison of ``compare_table`` as a Markdown table with its heading."""
    rows = [markdown_row(HEADERS), "|---|" + "---:|" * (len(HEADERS) - 1) + "\n"]
    for lines in _compared(run_folders, protocol):
        for line in lines:
            cells = (line.method, line.seed, *line.cells)
            rows.append(markdown_row([f"**{c}**" for c in cells] if line.is_mean else cells))
    return f"{_title(protocol)}\n\n{''.join(rows)}"


def _title(protocol: str) -> str:
    return f"Results in %, {protocol}; mean ± standard deviation over seeds"


def _compared(run_folders: Sequence[Path], protocol: str) -> list[list[Line]]:
    return compare([read_run(folder) for folder in run_folders], protocol)


def _table(title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )


def _add_numbers(table: "Table", headers: Sequence[str]) -> None:
    """Add columns of numbers, never broken; a heading's words stand below each other."""
    for header in headers:
        heading = header.replace(" ", "\n")
        table.add_column(heading, justify="right", no_wrap=True, min_width=len("58.3 ±1.4"))


def markdown_row(cells: Sequence[str]) -> str:
    """Return a line of a Markdown table."""
    # a name may hold a bar or a tag, which would be another cell or no text at all
    safe = [cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in cells]
    return f"| {' | '.join(safe)} |\n"
