"""An inspection in the terminal, and the rows that its page shows too."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedbridge.core.cells import NameCell
from fedbridge.core.notes import Notes
from fedbridge.report.inspection.result import SIDES, Cluster, Findings, TaskFacts

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 20  # findings of one kind that are listed
NAMED = 4  # of a cluster's items
Lines = list[tuple[str, ...]]


def task_lines(found: Findings) -> Lines:
    """Return a line for each task: client, task, classes, and items by side."""
    return [(task.client, task.name, _met(task), *_sizes(task)) for task in found.tasks]


def class_header(found: Findings) -> tuple[str, ...]:
    """Return what stands above ``class_lines``."""
    return ("class", *(("in the data",) if found.stock else ()), *SIDES[:3])


def class_lines(found: Findings) -> Lines:
    """Return a line for each class that is there: its name, all its items, and those by side."""
    total = sum((task.counts for task in found.tasks), np.zeros((len(found.classes), 3), np.int64))
    stock = np.array(found.stock or total.sum(1))
    lines = []
    for row in np.flatnonzero(stock).tolist():
        known = (str(stock[row]),) if found.stock else ()
        sides = total[row].tolist() if found.tasks else ["–"] * 3
        lines.append((found.classes[row], *known, *map(str, sides)))
    return lines


def remark(found: Findings) -> str:
    """Return what explains sums above the number of items there are; empty where there are none."""
    total = sum((task.counts.sum(1) for task in found.tasks), np.zeros(len(found.classes)))
    if found.stock and (total > np.array(found.stock)).any():
        return "test items that several clients share count once for each of them"
    return ""


def absent_classes(found: Findings) -> list[str]:
    """Return the classes of which no item is there."""
    present = {line[0] for line in class_lines(found)}
    return [name for name in found.classes if name not in present]


def show(found: Findings, console: "Console") -> None:
    """Print an inspection."""
    from rich.markup import escape
    from rich.table import Table

    for title, header, lines in (
        (f"tasks of {found.title}", ("client", "task", "classes", *SIDES[:3]), task_lines(found)),
        ("classes", class_header(found), class_lines(found)),
        (
            "labels worth a look",
            ("item", "label", "looks like", "margin"),
            [(d.place, d.label, d.looks_like, f"{d.margin:.2f}") for d in found.doubts],
        ),
    ):
        if lines:
            table = Table(*header, title=escape(title))
            for line in lines:
                table.add_row(*map(NameCell, line))
            console.print(table)
    if absent := absent_classes(found):
        console.print(f"classes without any item: {', '.join(absent)}", markup=False)
    if note := remark(found):
        console.print(note)
    console.print(f"public items: {found.public}")
    for finding in findings(found):
        console.print(finding.heading, markup=False, soft_wrap=True)
        for row in finding.lines[:SHOWN]:
            console.print(f"  {row}", markup=False, soft_wrap=True)
        if more := len(finding.lines[SHOWN:]):
            console.print(f"  and {more} more")


class Finding(NamedTuple):
    """What was found of one kind, or why it was not looked for."""

    title: str
    lines: list[str]
    skipped: str = ""

    @property
    def heading(self) -> str:
        """Return what it is, and how often."""
        if self.skipped:
            return f"{self.title}: not compared, because {self.skipped}"
        return f"{self.title}: {len(self.lines) or 'none'}"


def findings(found: Findings) -> list[Finding]:
    """Return what was found, by kind, as lines."""
    undivided = found.skipped if found.stock and not found.tasks else ""
    near = [f"{p.one} ~ {p.other} ({p.remark})" for p in found.near]
    doubted = [Finding("labels worth a look", [], found.skipped)] if found.skipped else []
    return [
        Finding("cannot be used", list(found.unusable)),
        *([Finding("left out", list(found.left_out))] if found.left_out else []),
        *_noticed(found.notes),
        *([] if found.blank is None else [Finding("blank pictures", list(found.blank))]),
        Finding("equal items", list(map(_equal, found.equal)), undivided),
        Finding("nearly equal items", near, found.skipped),
        *doubted,
    ]


def _noticed(notes: Notes) -> list[Finding]:
    kinds = {
        "read as nobody stated it": notes.guessed,
        "values that are missing": notes.missing,
        "worth a look": notes.odd,
    }
    return [Finding(title, list(lines)) for title, lines in kinds.items() if lines]


def _equal(cluster: Cluster) -> str:
    named = " = ".join(cluster.places[:NAMED])
    if len(cluster.places) <= NAMED:
        return f"{named} ({cluster.remark})"
    return f"{named} = ... ({len(cluster.places)} items, {cluster.remark})"


def _met(task: TaskFacts) -> str:
    return str(int((task.counts.sum(1) > 0).sum()))


def _sizes(task: TaskFacts) -> tuple[str, ...]:
    return tuple(str(count) for count in task.counts.sum(0).tolist())
