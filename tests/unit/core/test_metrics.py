import json
import math

import numpy as np
import pytest

from fedbridge.core.errors import UserError
from fedbridge.core.metrics import (
    AccuracyRow,
    average_incremental_accuracy,
    backward_transfer,
    final_accuracy,
    forgetting,
    forward_transfer,
    matrices_from_rows,
    so_far,
    sort_rows,
    spatial_retention,
    summarise,
    temporal_retention,
)

ARITHMETIC = (
    final_accuracy,
    average_incremental_accuracy,
    forgetting,
    backward_transfer,
    forward_transfer,
    temporal_retention,
)
"""What is computed of one predictor's matrices."""

NAN = math.nan
# columns: on task 1, 2, 3; rows: after task 0 (untrained), 1, 2, 3
FIRST = [
    [0.1, 0.2, 0.3],
    [0.8, 0.3, NAN],
    [0.6, 0.9, 0.5],
    [0.5, 0.7, 0.4],
]
# its second and third task help the first one, which is best in the middle
SECOND = [
    [0.0, 0.2, 0.2],
    [0.4, 0.2, NAN],
    [0.6, 0.5, 0.2],
    [0.5, 0.6, 0.8],
]
BOTH = np.array([FIRST, SECOND])


@pytest.mark.parametrize(
    ("metric", "first", "second"),
    [
        (final_accuracy, 1.6 / 3, 1.9 / 3),
        (average_incremental_accuracy, (0.8 + 0.75 + 1.6 / 3) / 3, (0.4 + 0.55 + 1.9 / 3) / 3),
        (forgetting, (0.3 + 0.2) / 2, (0.1 - 0.1) / 2),
        (backward_transfer, (-0.3 - 0.2) / 2, (0.1 + 0.1) / 2),
        (forward_transfer, (0.1 + 0.2) / 2, (0.0 + 0.0) / 2),
        (temporal_retention, 0.5 / 0.8, 0.5 / 0.4),
    ],
)  # fmt: skip
def test_metric_by_hand(metric, first, second):
    assert metric(BOTH[:1]) == pytest.approx(first)
    assert metric(BOTH[1:]) == pytest.approx(second)
    assert metric(BOTH) == pytest.approx((first + second) / 2)


def test_spatial_retention_by_hand():
    assert spatial_retention(BOTH[:1], BOTH[1:]) == pytest.approx(0.4 / 0.8)
    assert spatial_retention(BOTH, BOTH[::-1]) == pytest.approx((0.4 / 0.8 + 0.8 / 0.4) / 2)


def test_perfect_learner_neither_forgets_nor_transfers():
    perfect = np.ones((3, 5, 4))
    values = [metric(perfect) for metric in ARITHMETIC]
    assert values == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def test_one_task_leaves_forgetting_and_transfer_undefined():
    single = np.array([[[0.1], [0.7]]])
    assert final_accuracy(single) == average_incremental_accuracy(single) == 0.7
    assert temporal_retention(single) == 1.0
    for metric in (forgetting, backward_transfer, forward_transfer):
        assert math.isnan(metric(single))


# a client that has only two tasks
SHORT = np.array([[0.2, 0.1], [0.6, 0.4], [0.5, 0.9]])


@pytest.mark.parametrize(
    ("metric", "short"),
    [
        (final_accuracy, (0.5 + 0.9) / 2),
        (average_incremental_accuracy, (0.6 + 0.7) / 2),
        (forgetting, 0.6 - 0.5),
        (backward_transfer, 0.5 - 0.6),
        (forward_transfer, 0.4 - 0.1),
        (temporal_retention, 0.5 / 0.6),
    ],
)
def test_clients_with_unequal_numbers_of_tasks_count_alike(metric, short):
    first = metric([np.array(FIRST)])
    assert metric([SHORT]) == pytest.approx(short)
    assert metric([np.array(FIRST), SHORT]) == pytest.approx((first + short) / 2)


def test_unequal_clients_end_with_their_own_last_tasks():
    mine, its = [np.array(FIRST), SHORT], [np.array(SECOND), SHORT / 3]
    assert spatial_retention(mine, its) == pytest.approx((0.4 / 0.8 + 3.0) / 2)


def test_client_with_one_task_counts_where_there_is_something_to_measure():
    single = np.array([[0.1], [0.7]])
    mixed = [np.array(FIRST), single]
    for metric in (forgetting, backward_transfer, forward_transfer):
        assert metric(mixed) == metric(mixed[:1])
    assert final_accuracy(mixed) == pytest.approx((1.6 / 3 + 0.7) / 2)
    assert temporal_retention(mixed) == pytest.approx((0.5 / 0.8 + 1.0) / 2)


def test_tasks_that_share_their_classes_need_no_other_definitions():
    # the third task repeats the first: it is half known when it comes, and brings the first back
    repeated = np.array([[0.1, 0.1, 0.1], [0.9, 0.2, NAN], [0.5, 0.9, 0.5], [0.8, 0.7, 0.8]])
    assert forward_transfer([repeated]) == pytest.approx((0.1 + 0.4) / 2)
    assert backward_transfer([repeated]) == pytest.approx((-0.1 - 0.2) / 2)
    assert forgetting([repeated]) == pytest.approx((0.1 + 0.2) / 2)
    assert final_accuracy([repeated]) == pytest.approx(2.3 / 3)


def test_clients_without_a_denominator_are_left_out_of_retention():
    some = BOTH.copy()
    some[0, 1, 0] = some[0, 3, 2] = 0.0
    assert temporal_retention(some) == pytest.approx(0.5 / 0.4)
    assert spatial_retention(BOTH, some) == pytest.approx(0.8 / 0.8)
    assert math.isnan(temporal_retention(np.zeros((2, 3, 2))))


def test_what_was_not_measured_is_not_left_out_silently():
    unfinished = BOTH.copy()
    unfinished[1, 3, 0] = NAN
    for metric in ARITHMETIC:
        assert math.isnan(metric(unfinished)) == (metric is not forward_transfer)
    unfinished[1, 1, 0] = unfinished[1, 3, 2] = NAN
    assert math.isnan(temporal_retention(unfinished))
    assert math.isnan(spatial_retention(BOTH, unfinished))


def rows_of(tensor, predictor="small", protocol="class-incremental", names="ab"):
    clients, _, tasks = tensor.shape
    return [
        AccuracyRow(names[k], i, j, predictor, protocol, round(100 * tensor[k, i, j - 1]), 100)
        for k in range(clients)
        for i in range(tasks + 1)
        for j in range(1, tasks + 1)
        if not np.isnan(tensor[k, i, j - 1])
    ]


def test_matrices_come_back_from_their_rows_in_any_order_of_tasks():
    rows = rows_of(BOTH)
    shuffled = [rows[0], *rows[:0:-1]]  # the first row still names client a first
    for listed in (rows, shuffled):
        matrices = matrices_from_rows(listed, "small", "class-incremental")
        np.testing.assert_array_equal(matrices, BOTH)


def test_matrices_of_one_run_are_aligned_and_as_large_as_their_clients_tasks_are_many():
    rows = [*rows_of(BOTH), AccuracyRow("c", 1, 2, "large", "task-aware", 1, 2)]
    matrices = matrices_from_rows(rows, "large", "task-aware")
    assert [matrix.shape for matrix in matrices] == [(4, 3), (4, 3), (3, 2)]
    assert matrices[2][1, 1] == 0.5
    assert sum(np.isfinite(matrix).sum() for matrix in matrices) == 1


def test_a_task_that_was_learnt_counts_though_nothing_was_measured_on_it():
    rows = [AccuracyRow("a", 2, 1, "small", "task-aware", 1, 2)]
    (matrix,) = matrices_from_rows(rows, "small", "task-aware")
    np.testing.assert_array_equal(matrix, [[NAN, NAN], [NAN, NAN], [0.5, NAN]])


def test_measurement_listed_twice_is_refused():
    rows = rows_of(BOTH)
    with pytest.raises(UserError, match="every row must be there once, found again AccuracyRow"):
        matrices_from_rows([*rows, rows[4]], "small", "class-incremental")


def test_rows_are_sorted_as_declared_and_clients_as_first_named():
    row = AccuracyRow("b", 1, 1, "small", "class-incremental", 1, 2)
    declared = [
        AccuracyRow("b", 0, 1, "small", "class-incremental", 0, 2),
        AccuracyRow("b", 0, 1, "small", "task-aware", 0, 2),
        AccuracyRow("b", 0, 1, "large", "class-incremental", 0, 2),
        AccuracyRow("b", 0, 1, "together", "class-incremental", 0, 2),
        AccuracyRow("b", 0, 2, "small", "class-incremental", 0, 2),
        AccuracyRow("a", 0, 1, "small", "class-incremental", 0, 2),
        row,
    ]
    assert sort_rows([row, *reversed(declared[:-1])]) == declared


def test_summary_has_every_metric_of_every_predictor_and_protocol():
    rows = rows_of(BOTH) + rows_of(BOTH[::-1], "large") + rows_of(BOTH, "small", "task-aware")
    summary = summarise(rows)
    assert list(summary) == ["small", "large"]
    assert list(summary["small"]) == ["class-incremental", "task-aware"]
    names = [metric.__name__ for metric in ARITHMETIC]
    assert list(summary["small"]["task-aware"]) == names
    assert list(summary["large"]["class-incremental"]) == [*names, "spatial_retention"]
    assert summary["small"]["class-incremental"]["final_accuracy"] == pytest.approx(3.5 / 6)
    assert summary["large"]["class-incremental"]["spatial_retention"] == pytest.approx(1.25)


def test_summary_of_unequal_clients_is_the_mean_over_them():
    short = SHORT[None]
    rows = rows_of(BOTH[:1]) + rows_of(short, names="c")
    found = summarise(rows)["small"]["class-incremental"]
    for metric in ARITHMETIC:
        expected = (metric(BOTH[:1]) + metric(short)) / 2
        assert found[metric.__name__] == pytest.approx(expected)


def test_undefined_metrics_are_null_in_json():
    summary = summarise([AccuracyRow("a", 1, 1, "large", "task-aware", 3, 4)])
    values = summary["large"]["task-aware"]
    assert values["final_accuracy"] == 0.75
    assert values["forgetting"] is values["forward_transfer"] is None
    json.dumps(summary, allow_nan=False)


def test_nothing_measured_gives_an_empty_summary():
    assert summarise([]) == {}


def test_so_far_the_newest_task_of_each_client_is_its_last():
    def row(client, after, on, right):
        return AccuracyRow(client, after, on, "small", "class-incremental", right, 10)

    rows = [
        *(row("a", 0, 1, 1), row("a", 0, 2, 1), row("a", 1, 1, 8), row("a", 1, 2, 2)),
        *(row("b", 0, 1, 0), row("c", 0, 1, 0), row("c", 1, 1, 4), row("c", 2, 1, 6)),
        *(row("c", 0, 2, 0), row("c", 1, 2, 1), row("c", 2, 2, 8), row("c", 2, 3, 1)),
    ]
    found = summarise(so_far(rows))["small"]["class-incremental"]
    # a has learnt one task, c two, and b none, which is left out
    assert found["final_accuracy"] == pytest.approx((0.8 + (0.6 + 0.8) / 2) / 2)
    assert found["forgetting"] == pytest.approx(0.4 - 0.6)  # c's first task got better
    assert found["temporal_retention"] == pytest.approx((1 + 0.6 / 0.4) / 2)
    assert so_far([row("b", 0, 1, 0)]) == []
