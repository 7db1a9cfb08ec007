"""An inspection in the terminal, and the rows that its page shows too."""

from typing import TYPE_CHECKING

import numpy as np

from fedbridge.inspection.result import SIDES, Inspection, TaskFacts
from fedbridge.report.cells import Cell

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 20  # findings of one kind that are listed
Lines = list[tuple[str, ...]]


def task_lines(found: Inspection) -> Lines:
    """Return a line for each task: client, task, classes, and items by side."""
    return [(task.client, task.name, _met(task), *_sizes(task)) for task in found.tasks]


def class_header(found: Inspection) -> tuple[str, ...]:
    """Return what stands above ``class_lines``."""
    return ("class", *(("in the data",) if found.stock else ()), *SIDES[:3])


def class_lines(found: Inspection) -> Lines:
    """Return a line for each class that is there: its name, all its items, and those by side."""
    total = sum((task.counts for task in found.tasks), np.zeros((len(found.classes), 3), np.int64))
    stock = np.array(found.stock or total.sum(1))
    lines = []
    for row in np.flatnonzero(stock).tolist():
        known = (str(stock[row]),) if found.stock else ()
        sides = total[row].tolist() if found.tasks else ["–"] * 3
        lines.append((found.classes[row], *known, *map(str, sides)))
    return lines


def remark(found: Inspection) -> str:
    """Return what explains sums above the number of items there are; empty where there are none."""
    total = sum((task.counts.sum(1) for task in found.tasks), np.zeros(len(found.classes)))
    if found.stock and (total > np.array(found.stock)).any():
        return "test items that several clients share count once for each of them"
    return ""


def absent_classes(found: Inspection) -> list[str]:
    """Return the classes of which no item is there."""
    present = {line[0] for line in class_lines(found)}
    return [name for name in found.classes if name not in present]


def show(found: Inspection, console: "Console") -> None:
    """Print an inspection."""
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
            table = Table(*header, title=title)
            for line in lines:
                table.add_row(*map(Cell, line))
            console.print(table)
    if absent := absent_classes(found):
        console.print(f"classes without any item: {', '.join(absent)}", markup=False)
    if note := remark(found):
        console.print(note)
    console.print(f"public items: {found.public}")
    for title, rows in findings(found):
        console.print(f"{title}: {len(rows) or 'none'}", markup=False)
        for row in rows[:SHOWN]:
            console.print(f"  {row}", markup=False, soft_wrap=True)
        if more := len(rows[SHOWN:]):
            console.print(f"  and {more} more")
    if found.skipped:
        console.print(f"not compared by the FM: {found.skipped}", markup=False)


def findings(found: Inspection) -> list[tuple[str, list[str]]]:
    """Return what was found, by kind, as lines."""
    left_out = [("left out", list(found.left_out))] if found.left_out else []
    told = [("cannot be used", list(found.unusable)), *left_out]
    if found.stock and not found.tasks:  # nothing was compared
        return told
    return [
        *told,
        ("equal items", [f"{p.one} = {p.other} ({p.remark})" for p in found.equal]),
        ("nearly equal items", [f"{p.one} ~ {p.other} ({p.remark})" for p in found.near]),
    ]


def _met(task: TaskFacts) -> str:
    return str(int((task.counts.sum(1) > 0).sum()))


def _sizes(task: TaskFacts) -> tuple[str, ...]:
    return tuple(str(count) for count in task.counts.sum(0).tolist())
