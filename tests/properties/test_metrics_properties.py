"""What holds for the metrics of every accuracy tensor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedbridge.core.metrics import (
    AccuracyRow,
    average_incremental_accuracy,
    backward_transfer,
    final_accuracy,
    forgetting,
    forward_transfer,
    matrices_from_rows,
    spatial_retention,
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


@st.composite
def tensors(draw, least_tasks=2):
    clients, tasks = draw(st.integers(1, 4)), draw(st.integers(least_tasks, 5))
    return draw(arrays(float, (clients, tasks + 1, tasks), elements=st.floats(0.01, 1.0)))


@given(tensors(least_tasks=1))
def test_accuracies_are_fractions(accuracy):
    for metric in (final_accuracy, average_incremental_accuracy):
        assert 0.0 <= metric(accuracy) <= 1.0 + 1e-12


@given(tensors())
def test_forgetting_and_transfers_lie_between_minus_one_and_one(accuracy):
    for metric in (forgetting, backward_transfer, forward_transfer):
        assert -1.0 <= metric(accuracy) <= 1.0


@given(tensors(), st.randoms(use_true_random=False))
def test_order_of_clients_does_not_matter(accuracy, random):
    order = random.sample(range(len(accuracy)), len(accuracy))
    for metric in ARITHMETIC:
        assert metric(accuracy[order]) == pytest.approx(metric(accuracy))


@given(tensors())
def test_a_client_twice_is_the_client_once(accuracy):
    twice = np.concatenate([accuracy, accuracy])
    for metric in ARITHMETIC:
        assert metric(twice) == pytest.approx(metric(accuracy))


@given(tensors(), st.floats(0.0, 1.0))
def test_last_task_counts_in_neither_forgetting_nor_backward_transfer(accuracy, other):
    changed = accuracy.copy()
    changed[:, :, -1] = other
    assert forgetting(changed) == forgetting(accuracy)
    assert backward_transfer(changed) == backward_transfer(accuracy)


@given(tensors())
def test_forgetting_is_at_least_the_loss_since_learning(accuracy):
    assert forgetting(accuracy) >= -backward_transfer(accuracy) - 1e-12


@given(tensors(), st.floats(0.0, 1.0))
def test_what_lies_further_ahead_than_one_task_is_never_read(accuracy, other):
    changed = accuracy.copy()
    for after in range(1, accuracy.shape[2]):
        changed[:, after, after + 1 :] = other
    for metric in ARITHMETIC:
        assert metric(changed) == metric(accuracy)


@given(tensors(), st.floats(0.0, 1.0))
def test_only_forward_transfer_reads_the_untrained_model_and_the_task_ahead(accuracy, other):
    changed = accuracy.copy()
    changed[:, 0] = other
    for after in range(1, accuracy.shape[2]):
        changed[:, after, after] = other
    for metric in ARITHMETIC:
        if metric is not forward_transfer:
            assert metric(changed) == metric(accuracy)
    assert forward_transfer(changed) == pytest.approx(0.0)


@given(tensors())
def test_retention_of_a_model_against_itself_is_one(accuracy):
    assert spatial_retention(accuracy, accuracy) == pytest.approx(1.0)
    frozen = np.repeat(accuracy[:, :1], accuracy.shape[1], axis=1)
    assert temporal_retention(frozen) == pytest.approx(1.0)
    assert forgetting(frozen) == backward_transfer(frozen) == 0.0


@st.composite
def federations(draw):
    """Draw a matrix for each client, each with its own number of tasks."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    values = st.floats(0.01, 1.0)
    return [draw(arrays(float, (tasks + 1, tasks), elements=values)) for tasks in sizes]


@given(federations())
def test_every_metric_is_the_mean_of_what_it_is_for_each_client(accuracy):
    for metric in ARITHMETIC:
        alone = [metric([matrix]) for matrix in accuracy]
        defined = [value for value in alone if not np.isnan(value)]
        expected = np.mean(defined) if defined else np.nan
        assert metric(accuracy) == pytest.approx(expected, nan_ok=True)


@given(tensors())
def test_equal_numbers_of_tasks_give_the_mean_over_clients_and_tasks(accuracy):
    tasks = accuracy.shape[2]
    earlier = np.arange(tasks - 1)
    expected = {
        final_accuracy: accuracy[:, -1].mean(),
        backward_transfer: (accuracy[:, -1, :-1] - accuracy[:, earlier + 1, earlier]).mean(),
        forward_transfer: (
            accuracy[:, earlier + 1, earlier + 1] - accuracy[:, 0, earlier + 1]
        ).mean(),
    }
    for metric, value in expected.items():
        assert metric(accuracy) == pytest.approx(value)


@given(federations(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(accuracy, random):
    rows = [
        AccuracyRow(f"client-{k}", i, j + 1, "small", "task-aware", round(1000 * value), 1000)
        for k, matrix in enumerate(accuracy)
        for (i, j), value in np.ndenumerate(matrix)
    ]
    rest = rows[1:]
    random.shuffle(rest)
    one = matrices_from_rows(rows, "small", "task-aware")
    other = matrices_from_rows([rows[0], *rest], "small", "task-aware")
    names = list(dict.fromkeys(row.client for row in [rows[0], *rest]))
    for name, matrix in zip(names, other, strict=True):
        k = int(name.removeprefix("client-"))
        np.testing.assert_array_equal(matrix, one[k])
        np.testing.assert_allclose(matrix, accuracy[k], atol=5e-4)
