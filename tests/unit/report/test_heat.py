"""Heat maps: numbers, depths, what was measured ahead, and what was forgotten, by hand."""

import numpy as np
import pytest

from fedbridge.core.metrics import AccuracyRow, forgetting
from fedbridge.report.run.heat import HeatCell, forgotten, heat_map

NAN = float("nan")


def rows(values: list[list[float]]) -> list[AccuracyRow]:
    return [
        AccuracyRow("a", after, on, "small", "class-incremental", round(100 * value), 100)
        for after, row in enumerate(values)
        for on, value in enumerate(row, start=1)
        if np.isfinite(value)
    ]


def test_cells_have_percentages_and_say_what_was_measured_ahead() -> None:
    found = heat_map(rows([[0.1, NAN], [0.7, 0.2], [0.35, 0.8]]))
    assert found.rows == [
        ("none", [HeatCell("10", 10, ahead=True), None]),
        ("1", [HeatCell("70", 70), HeatCell("20", 20, ahead=True)]),
        ("2", [HeatCell("35", 35), HeatCell("80", 80)]),
    ]
    assert found.lost == [HeatCell("−35", 35), None]


def test_what_is_gained_at_the_end_is_no_loss() -> None:
    assert heat_map(rows([[0.1, NAN], [0.5, 0.2], [0.75, 0.8]])).lost == [HeatCell("+25", 0), None]
    assert heat_map(rows([[0.1, NAN], [0.5, 0.2], [0.5, 0.8]])).lost == [HeatCell("0", 0), None]


def test_rows_that_were_not_measured_are_left_out() -> None:
    found = heat_map(rows([[NAN, NAN], [0.7, NAN], [NAN, NAN], [0.6, 0.5]]))
    assert [name for name, _ in found.rows] == ["1", "3"]


def test_what_was_forgotten_is_the_metrics_mean() -> None:
    values = np.array([[NAN, NAN, NAN], [0.9, 0.1, NAN], [0.95, 0.7, 0.2], [0.6, 0.8, 0.9]])
    lost = forgotten(values)
    assert lost == [pytest.approx(0.35), pytest.approx(-0.1), None]
    known = [value for value in lost if value is not None]
    assert np.mean(known) == pytest.approx(forgetting([values]))


def test_an_unfinished_run_is_judged_by_what_was_measured_last() -> None:
    values = np.array([[0.1, 0.1, 0.1], [0.9, 0.2, NAN], [0.5, 0.8, 0.3]])
    assert forgotten(values) == [pytest.approx(0.4), None, None]
