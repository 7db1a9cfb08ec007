"""Results in the terminal and as Markdown: one run, or many runs compared."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedbridge.core.legible import legible
from fedbridge.core.metrics import PROTOCOLS
from fedbridge.core.wording import elided
from fedbridge.report.run.comparison import ComparisonLine, Label, compare, compared_in
from fedbridge.report.run.folder import RunRecord, read_run
from fedbridge.report.run.meaning import remarks
from fedbridge.report.run.metric_words import METRICS, metric, metrics_of
from fedbridge.report.run.reached import reached

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

LEAST = 8  # signs of a name, however narrow the terminal
NUMBER = len("58.3 ±1.4")


def result_table(run_folder: Path) -> "Table":
    """Return one run's metrics in %, a row per protocol and predictor.

    Raises UserError when the folder is no run. Of an unfinished run they are on the tasks so far;
    what is not known yet is a dash.
    """
    from rich.markup import escape

    run = read_run(run_folder)
    stand = reached(run)
    title = f"{elided(run.config.name, 60)}, seed {run.config.seed}"
    title += "" if run.summary else f": {stand.words}"
    if refused := len(run.events.refusals):
        title += f", {refused} {'message' if refused == 1 else 'messages'} refused"
    table = _table(escape(title))
    table.caption = escape("\n".join(map(legible, remarks(run, stand))))
    table.caption_justify = "left"
    table.add_column("in %", no_wrap=True)
    called = metrics_of(run)
    _add_numbers(table, [called[name] for name in METRICS])
    for protocol in PROTOCOLS:
        table.add_row(f"[bold]{protocol}[/bold]")
        for predictor in run.predictors:
            values = [metric(run.measures(predictor, protocol), name) for name in METRICS]
            end = predictor == run.predictors[-1]
            table.add_row(f"  {predictor}", *values, end_section=end)
    return table


class Comparison:
    """A row per run, by method, and mean ± standard deviation over each method's seeds.

    As wide as what shows it has room for: where the methods' names and settings do not fit, they
    are listed below the rows, by numbers. The deviation is the sample's (n - 1); runs that differ
    in more than seed and engine are never averaged.
    """

    def __init__(self, run_folders: Sequence[Path], protocol: str = PROTOCOLS[0]) -> None:
        """Raise UserError when a folder is no run."""
        self.title = _title(protocol)
        runs = [read_run(folder) for folder in run_folders]
        self.headers = _headers(runs)
        self.groups = compare(runs, protocol)

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> "Iterator[RenderableType]":
        """Yield the table and, where there is need, what its names stand for."""
        from rich.text import Text

        lines = [line for group in self.groups for line in group]
        room = max(LEAST, options.max_width - _width_of_numbers(self.headers, lines))
        names = {line.method: str(line.method) for line in lines}
        short = any(len(name) > room for name in names.values())
        if short:
            names = {label: f"{n} {label.name}" for n, label in enumerate(names, start=1)}
        yield self._table({label: elided(name, room) for label, name in names.items()})
        if short:
            yield Text()
        for number, label in enumerate(names if short else (), start=1):
            words = f"{number} {': '.join(filter(None, (label.name, ', '.join(label.notes))))}"
            yield Text("\n".join(_wrapped(words, options.max_width)))

    def _table(self, names: "Mapping[Label, str]") -> "Table":
        from rich.markup import escape

        table = _table(self.title)
        table.add_column(self.headers[0], no_wrap=True)
        table.add_column(self.headers[1], justify="right", no_wrap=True)
        _add_numbers(table, self.headers[2:])
        for lines in self.groups:
            for line in lines:
                style = "bold" if line.is_mean else None
                cells = [cell.replace("± ", "±") for cell in line.cells]
                name, end = escape(names[line.method]), line is lines[-1]
                table.add_row(name, line.seed, *cells, style=style, end_section=end)
        return table


def compare_markdown(run_folders: list[Path], protocol: str = PROTOCOLS[0]) -> str:
    """Return the same comparison as a Markdown table with its heading."""
    runs = [read_run(folder) for folder in run_folders]
    headers = _headers(runs)
    rows = [markdown_row(headers), "|---|" + "---:|" * (len(headers) - 1) + "\n"]
    for lines in compare(runs, protocol):
        for line in lines:
            cells = (str(line.method), line.seed, *line.cells)
            rows.append(markdown_row([f"**{c}**" for c in cells] if line.is_mean else cells))
    return f"{_title(protocol)}\n\n{''.join(rows)}"


def _title(protocol: str) -> str:
    return f"Results in %, {protocol}; mean ± standard deviation over seeds"


def _headers(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    known = METRICS | {name: own.title for run in runs for name, own in run.own_metrics.items()}
    return ("method", "seed", *(f"{p} {known[name]}" for p, name in compared_in(runs)))


def _width_of_numbers(headers: Sequence[str], lines: Sequence[ComparisonLine]) -> int:
    """Return how many signs all columns but the first take, with what divides them."""
    rows = [(line.seed, *line.cells) for line in lines]
    heads = [max(map(len, header.split())) for header in headers[1:]]
    found = [max(map(len, column)) for column in zip(*rows, strict=True)]
    least = [0, *[NUMBER] * (len(heads) - 1)]
    return sum(map(max, heads, found, least)) + len(heads)


def _wrapped(words: str, width: int) -> list[str]:
    """Return lines of a text, broken between words only."""
    return textwrap.wrap(
        words, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


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
        table.add_column(heading, justify="right", no_wrap=True, min_width=NUMBER)


def markdown_row(cells: Sequence[str]) -> str:
    """Return a line of a Markdown table."""
    # a name may hold a bar or a tag, which would be another cell or no text at all
    safe = [cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in cells]
    return f"| {' | '.join(safe)} |\n"
