"""What holds for the metrics of every accuracy tensor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedbridge.metrics import (
    METRICS,
    AccuracyRow,
    average_incremental_accuracy,
    backward_transfer,
    final_accuracy,
    forgetting,
    forward_transfer,
    spatial_retention,
    temporal_retention,
    tensor_from_rows,
)


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
    for metric in METRICS:
        assert metric(accuracy[order]) == pytest.approx(metric(accuracy))


@given(tensors())
def test_a_client_twice_is_the_client_once(accuracy):
    twice = np.concatenate([accuracy, accuracy])
    for metric in METRICS:
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
    for metric in METRICS:
        assert metric(changed) == metric(accuracy)


@given(tensors(), st.floats(0.0, 1.0))
def test_only_forward_transfer_reads_the_untrained_model_and_the_task_ahead(accuracy, other):
    changed = accuracy.copy()
    changed[:, 0] = other
    for after in range(1, accuracy.shape[2]):
        changed[:, after, after] = other
    for metric in METRICS:
        if metric is not forward_transfer:
            assert metric(changed) == metric(accuracy)
    assert forward_transfer(changed) == pytest.approx(0.0)


@given(tensors())
def test_retention_of_a_model_against_itself_is_one(accuracy):
    assert spatial_retention(accuracy, accuracy) == pytest.approx(1.0)
    frozen = np.repeat(accuracy[:, :1], accuracy.shape[1], axis=1)
    assert temporal_retention(frozen) == pytest.approx(1.0)
    assert forgetting(frozen) == backward_transfer(frozen) == 0.0


@given(tensors(), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(accuracy, random):
    rows = [
        AccuracyRow(f"client-{k}", i, j + 1, "small", "task-aware", round(1000 * value), 1000)
        for (k, i, j), value in np.ndenumerate(accuracy)
    ]
    rest = rows[1:]
    random.shuffle(rest)
    one = tensor_from_rows(rows, "small", "task-aware")
    other = tensor_from_rows([rows[0], *rest], "small", "task-aware")
    names = list(dict.fromkeys(row.client for row in [rows[0], *rest]))
    order = [int(name.removeprefix("client-")) for name in names]
    np.testing.assert_array_equal(other, one[order])
    np.testing.assert_allclose(one, accuracy, atol=5e-4)
