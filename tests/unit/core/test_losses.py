import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from fedbridge.core.losses import confidence, cross_entropy, distance, divergence, mass_on

LN2, LN3 = math.log(2), math.log(3)

values = st.floats(-30, 30, width=32)
shapes = st.tuples(st.integers(1, 4), st.integers(2, 6))
tables = shapes.flatmap(lambda shape: arrays(np.float32, shape, elements=values))
pairs = shapes.flatmap(lambda shape: st.tuples(*[arrays(np.float32, shape, elements=values)] * 2))


def logits(*rows: list[float]) -> Tensor:
    """Return logits of which the softmax is ``rows``."""
    return torch.tensor(rows, dtype=torch.float64).clamp(min=1e-300).log()


def test_divergence_by_hand():
    teacher, student = logits([0.5, 0.5], [0.9, 0.1]), logits([0.9, 0.1], [0.5, 0.5])

    found = divergence(teacher, student)

    first = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    second = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert found.tolist() == pytest.approx([first, second])
    assert first != pytest.approx(second)  # the teacher comes first


@given(pairs)
def test_divergence_is_never_negative(pair):
    teacher, student = map(torch.from_numpy, pair)
    assert (divergence(teacher, student) >= -1e-5).all()


@given(tables, st.floats(-20, 20))
def test_divergence_is_zero_for_equal_distributions(table, shift):
    teacher = torch.from_numpy(table).double()
    assert divergence(teacher, teacher + shift).abs().max() < 1e-9


@given(pairs)
def test_divergence_is_zero_only_for_equal_distributions(pair):
    teacher, student = (torch.from_numpy(table).double() for table in pair)
    apart = (teacher.softmax(1) - student.softmax(1)).abs().sum(1)
    # Pinsker: KL >= |p - q|_1 ** 2 / 2
    assert (divergence(teacher, student) >= apart**2 / 2 - 1e-12).all()


def test_distance_by_hand():
    one = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
    other = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.8, 0.6]])
    assert distance(one, other).tolist() == pytest.approx([0.0, 1.0, 2.0, 0.04], abs=1e-6)


def test_sureness_by_hand():
    table = logits([1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0])
    assert confidence(table).tolist() == pytest.approx([1.0, 0.0, 1 - LN2 / LN3])


def test_a_model_of_one_class_is_unsure():
    assert confidence(torch.tensor([[3.0], [-8.0]])).tolist() == [0.0, 0.0]


@given(tables)
def test_sureness_is_a_fraction(table):
    sure = confidence(torch.from_numpy(table))
    assert ((sure >= 0) & (sure <= 1)).all()


@given(st.integers(2, 50), values)
def test_sureness_is_nothing_where_all_classes_are_alike(classes, value):
    assert confidence(torch.full((1, classes), value)).item() == pytest.approx(0.0, abs=1e-5)


def test_sureness_is_never_below_nothing_by_rounding():
    assert all(confidence(torch.zeros(1, classes)).item() >= 0.0 for classes in range(2, 200))


@given(tables, st.randoms())
def test_sureness_knows_no_order_of_classes(table, random):
    order = random.sample(range(table.shape[1]), table.shape[1])
    table = torch.from_numpy(table).double()
    torch.testing.assert_close(confidence(table), confidence(table[:, order]))


@given(tables)
def test_sureness_grows_with_sharpness(table):
    table = torch.from_numpy(table).double()
    assert (confidence(2 * table) >= confidence(table) - 1e-9).all()


def test_mass_by_hand():
    table = logits([0.2, 0.3, 0.5], [0.1, 0.1, 0.8])
    assert mass_on(table, torch.tensor([0, 2])).tolist() == pytest.approx([0.7, 0.9])
    assert mass_on(table, torch.tensor([], dtype=torch.long)).tolist() == [0.0, 0.0]


@given(tables, st.integers(0, 6))
def test_mass_of_a_part_and_of_the_rest_is_one(table, cut):
    table = torch.from_numpy(table).double()
    columns = torch.arange(table.shape[1])
    total = mass_on(table, columns[:cut]) + mass_on(table, columns[cut:])
    torch.testing.assert_close(total, torch.ones_like(total))


def test_cross_entropy_by_hand():
    table = logits([0.2, 0.8], [0.5, 0.5])
    found = cross_entropy(table, torch.tensor([1, 0])).item()
    assert found == pytest.approx(-(math.log(0.8) + math.log(0.5)) / 2)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e20])
def test_extreme_logits_give_finite_numbers_and_gradients(size):
    teacher = torch.tensor([[size, -size, 0.0], [-size, -size, -size], [size, size, -size]])
    student = teacher.flip(1).requires_grad_()

    total = divergence(teacher, student).sum() + cross_entropy(student, torch.tensor([0, 1, 2]))
    total.backward()

    assert total.isfinite()
    assert student.grad.isfinite().all()
    assert confidence(teacher).tolist() == pytest.approx([1.0, 0.0, 1 - LN2 / LN3], abs=1e-5)
    assert mass_on(teacher, torch.tensor([0])).tolist() == pytest.approx([1.0, 1 / 3, 0.5])


@given(pairs)
def test_the_gradient_of_divergence_is_the_difference_of_distributions(pair):
    teacher, student = (torch.from_numpy(table).double() for table in pair)
    student.requires_grad_()

    divergence(teacher, student).sum().backward()

    torch.testing.assert_close(student.grad, (student.softmax(1) - teacher.softmax(1)).detach())


def test_cross_entropy_with_weights_by_hand():
    table, columns = logits([0.5, 0.5], [0.9, 0.1]), torch.tensor([0, 1])
    found = cross_entropy(table, columns, torch.tensor([2.0, 0.5], dtype=torch.float64))
    expected = (2.0 * LN2 - 0.5 * math.log(0.1)) / 2
    assert found.item() == pytest.approx(expected)
