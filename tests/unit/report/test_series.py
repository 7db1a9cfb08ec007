import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.metrics import AccuracyRow
from fedbridge.report.run.series import curve, heat, select


def row(client: str, after: int, on: int, correct: int, predictor: str = "small") -> AccuracyRow:
    return AccuracyRow(client, after, on, predictor, "class-incremental", correct, 10)


ROWS = [
    row("a", 0, 1, 1),
    row("a", 1, 1, 8),
    row("a", 1, 2, 2),  # ahead of its task: no part of the curve
    row("a", 2, 1, 4),
    row("a", 2, 2, 6),
    row("b", 1, 1, 6),
    row("b", 2, 1, 2),
    row("b", 2, 2, 10),
]


def test_curve_is_the_mean_over_clients_of_the_tasks_so_far() -> None:
    assert curve(ROWS) == [(1, pytest.approx(0.7)), (2, pytest.approx(0.55))]
    assert curve([]) == []


def test_every_client_counts_the_same_in_the_curve() -> None:
    more = [row("b", 1, 1, 0), row("a", 2, 1, 10), row("a", 2, 2, 10), row("b", 2, 1, 0)]
    assert dict(curve(more))[2] == pytest.approx(0.5)


def test_curve_ends_with_what_every_client_ended_with() -> None:
    late = [row("c", 0, 1, 2), row("c", 1, 1, 9)]
    assert curve([*ROWS, *late]) == [
        (1, pytest.approx((0.8 + 0.6 + 0.9) / 3)),
        (2, pytest.approx((0.5 + 0.6 + 0.9) / 3)),
    ]
    gap = [row("c", 2, 1, 5)]  # a damaged table, in which the first task is missing
    assert curve([*ROWS, *gap])[0] == (1, pytest.approx(0.7))


def test_heat_has_a_row_for_the_untrained_model_and_gaps() -> None:
    expected = [[0.1, np.nan], [0.7, 0.2], [0.3, 0.8]]
    np.testing.assert_allclose(heat(ROWS), expected)


def test_select_takes_one_predictor_and_protocol() -> None:
    mixed = [*ROWS, row("a", 1, 1, 9, "large")]
    assert select(mixed, "large", "class-incremental") == [mixed[-1]]
    assert select(mixed, "large", "task-aware") == []


@given(st.permutations(ROWS))
def test_the_order_of_rows_changes_nothing(rows: list[AccuracyRow]) -> None:
    np.testing.assert_allclose([v for _, v in curve(rows)], [0.7, 0.55])
    np.testing.assert_allclose(heat(rows), heat(ROWS))
