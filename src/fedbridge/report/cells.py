"""Matrices with a number in every cell: forgetting, and who taught whom."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedbridge.report.svg import COLOURS, INK, WIDTH, drawing, inline_svg
from fedbridge.report.wording import percent, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy_heat_map(name: str, values: NDArray[np.float64], predictor: str) -> str:
    """Return the accuracy ``(T + 1, T)`` after each task (row, 0: untrained) on each task.

    A task that was not learnt yet, measured for forward transfer, has a dashed frame.
    """
    rows = [i for i in range(len(values)) if np.isfinite(values[i]).any()]
    tasks = values.shape[1]
    with drawing(0.75 * WIDTH, 44 + len(rows) * _height(len(rows))) as (figure, axes):
        for row, column in np.argwhere(np.isfinite(values)):
            place = (int(column), rows.index(row))
            _cell(axes, place, float(values[row, column]), COLOURS[predictor])
            if column >= row:
                _frame(axes, place)
        names = [str(row) if row else "none" for row in rows]
        _name_cells(axes, names, [str(task) for task in range(1, tasks + 1)])
        axes.set_xlabel("accuracy on task")
        axes.set_ylabel("after task")
        end = ", ".join(f"{percent(v)} % on task {t}" for t, v in enumerate(values[-1], start=1))
        return inline_svg(figure, name, f"Accuracy of {predictor} on each task, at the end: {end}.")


def lesson_matrix(
    name: str, students: Sequence[str], teachers: Sequence[str], weights: NDArray[np.float64]
) -> str:
    """Return the mean weight ``(students, teachers)`` of the lessons given, as a matrix."""
    given = np.argwhere(np.isfinite(weights))
    with drawing(WIDTH, 90 + len(students) * _height(len(students))) as (figure, axes):
        for row, column in given:
            _cell(axes, (int(column), int(row)), float(weights[row, column]), INK)
        _name_cells(axes, [short(s, 12) for s in students], [short(t, 12) for t in teachers])
        if sum(len(short(teacher, 12)) for teacher in teachers) > 36:  # no room side by side
            for label in axes.get_xticklabels():
                label.set(rotation=40, ha="right", rotation_mode="anchor")
        axes.set_xlabel("teacher")
        axes.set_ylabel("student")
        words = "; ".join(
            f"{teachers[column]} to {students[row]} {percent(weights[row, column])} %"
            for row, column in given
        )
        return inline_svg(figure, name, f"Mean weight of the lessons, teacher to student: {words}.")


def _height(rows: int) -> float:
    """Return a cell's height in points: lower where there are many."""
    return max(14.0, min(28.0, 220 / rows))


def _cell(axes: "Axes", at: tuple[int, int], value: float, colour: str) -> None:
    """Draw one cell, deeper the larger ``value`` in [0, 1], with the percentage in it."""
    from matplotlib.patches import Rectangle

    x, y = at
    depth = 0.05 + 0.5 * min(1.0, max(0.0, value))
    corner = (x - 0.47, y - 0.46)
    axes.add_patch(Rectangle(corner, 0.94, 0.92, facecolor=colour, alpha=depth, linewidth=0))
    axes.text(x, y, f"{100 * value:.0f}", ha="center", va="center_baseline")


def _frame(axes: "Axes", at: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    x, y = at
    corner = (x - 0.44, y - 0.41)
    axes.add_patch(
        Rectangle(corner, 0.88, 0.82, fill=False, edgecolor=INK, alpha=0.5, linestyle=(0, (2, 2)))
    )


def _name_cells(axes: "Axes", rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
