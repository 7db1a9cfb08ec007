import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedbridge.models.calibration import (
    Mixture,
    class_balance,
    count_correct,
    fit_mixture,
    sharpened_loss,
)


def sides(n: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, classes, generator=generator),
        torch.randn(n, classes, generator=generator) / 4,
    )


def drawn(p: Tensor, seed: int = 1) -> Tensor:
    return torch.multinomial(p, 1, generator=torch.Generator().manual_seed(seed))[:, 0]


def loss(mixture: Mixture, small: Tensor, large: Tensor, labels: Tensor) -> float:
    """Return the mean over classes of each class's mean cross entropy, item by item."""
    each = torch.nn.functional.cross_entropy(mixture(small, large), labels, reduction="none")
    return float(torch.stack([each[labels == c].mean() for c in labels.unique()]).mean())


def test_a_mixture_adds_what_both_sides_say_times_their_powers():
    small, large = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.25]])
    assert Mixture(2.0, 4.0)(small, large).tolist() == [[4.0, 5.0]]


def test_the_fit_recovers_the_powers_that_made_the_labels():
    small, large = sides(20_000, 5)
    labels = drawn(Mixture(1.5, 6.0)(small, large).softmax(1))

    found = fit_mixture(small, large, labels)

    assert found.small == pytest.approx(1.5, rel=0.05)
    assert found.large == pytest.approx(6.0, rel=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_no_point_of_a_grid_is_better_than_the_fit(seed):
    small, large = sides(60, 4, seed)
    labels = drawn((small + 3 * large).softmax(1), seed)

    best = loss(fit_mixture(small, large, labels), small, large, labels)

    grid = np.linspace(0, 10, 21)
    assert best <= min(loss(Mixture(a, b), small, large, labels) for a in grid for b in grid) + 1e-6


def test_every_class_counts_the_same_by_hand():
    assert class_balance(torch.tensor([0, 0, 0, 2])).tolist() == pytest.approx(
        [1 / 6, 1 / 6, 1 / 6, 1 / 2]
    )
    assert class_balance(torch.tensor([5])).tolist() == [1]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_the_weights_of_every_class_have_the_same_sum(labels):
    weights, labels = class_balance(torch.tensor(labels)), torch.tensor(labels)
    found = [float(weights[labels == c].sum()) for c in labels.unique()]
    assert found == pytest.approx([1 / len(found)] * len(found))


def test_a_balanced_mixture_by_hand():
    # two classes, whose logits differ by the power b: class 0 is right in 3 of 4 items, class 1
    # in one of 2, so that a balanced b is log(0.625 / 0.375); the plain one would be log(4 / 2)
    scores = torch.tensor([[1.0, 0.0]]).repeat(6, 1)
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    for row in (0, 1, 2, 4):
        scores[row] = torch.nn.functional.one_hot(labels[row], 2)
    for row in (3, 5):
        scores[row] = torch.nn.functional.one_hot(1 - labels[row], 2)
    expected = math.log(0.625 / 0.375)

    found = fit_mixture(torch.zeros(6, 2), scores, labels)

    assert found.large == pytest.approx(expected, abs=1e-4)
    entropy = -0.625 * math.log(0.625) - 0.375 * math.log(0.375)
    assert sharpened_loss(scores, labels) == pytest.approx(entropy, abs=1e-6)


def test_an_item_that_is_there_twice_changes_nothing_if_all_of_its_class_are():
    small, large = sides(30, 3)
    labels = torch.arange(30) % 3
    again = torch.cat([torch.arange(30), (labels == 1).nonzero()[:, 0]])
    one = fit_mixture(small, large, labels)
    other = fit_mixture(small[again], large[again], labels[again])
    assert (other.small, other.large) == pytest.approx((one.small, one.large), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_sharpened_loss_is_the_least_on_a_fine_grid(seed):
    _, scores = sides(50, 4, seed)
    labels = drawn((5 * scores).softmax(1), seed)
    nothing = torch.zeros_like(scores)
    grid = [loss(Mixture(0, b), nothing, scores, labels) for b in np.linspace(0, 20, 2001)]
    assert sharpened_loss(scores, labels) == pytest.approx(min(grid), abs=1e-4)


def test_the_sharpened_loss_knows_no_scale_and_is_never_worse_than_guessing():
    _, scores = sides(50, 4)
    labels = drawn((5 * scores).softmax(1))
    found = sharpened_loss(scores, labels)
    assert sharpened_loss(scores / 7, labels) == pytest.approx(found, abs=1e-4)
    wrong = -torch.nn.functional.one_hot(labels, 4).float()
    assert found < sharpened_loss(wrong, labels) == pytest.approx(math.log(4))
    assert sharpened_loss(-wrong, labels) == pytest.approx(0, abs=1e-4)


def test_a_side_that_says_nothing_of_the_label_is_ignored():
    small, large = sides(20_000, 5)
    labels = drawn((8 * large).softmax(1))

    assert fit_mixture(small, large, labels).small < 0.05
    assert fit_mixture(8 * large, small, labels).large < 0.05


def test_a_side_that_is_always_wrong_is_silenced():
    _, large = sides(500, 3)
    labels = drawn((8 * large).softmax(1))
    wrong = -torch.nn.functional.one_hot(labels, 3).float()

    assert fit_mixture(wrong, large, labels).small == 0.0


def test_without_items_both_powers_are_the_default():
    nothing = torch.zeros(0, 3)
    assert fit_mixture(nothing, nothing, torch.zeros(0, dtype=torch.long)) == Mixture()


def test_sides_that_are_always_right_give_finite_powers():
    right = torch.eye(3)
    found = fit_mixture(right, right, torch.arange(3))
    assert math.isfinite(found.small) and math.isfinite(found.large)
    assert found(right, right).argmax(1).tolist() == [0, 1, 2]


def test_correct_answers_by_hand():
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 9.0]])
    labels = torch.tensor([0, 1, 2])

    assert count_correct(scores, labels, torch.tensor([0, 1, 2])) == 2
    assert count_correct(scores, labels, torch.tensor([1, 2])) == 2  # class 0 cannot be said
    assert count_correct(scores, labels, torch.tensor([1])) == 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 6))
def test_counts_lie_within_the_items_and_know_no_order(seed, n, size):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, 6, generator=generator)
    labels = torch.randint(6, (n,), generator=generator)
    classes = torch.randperm(6, generator=generator)[:size]
    order = torch.randperm(n, generator=generator)

    found = count_correct(scores, labels, classes)

    assert 0 <= found <= int(torch.isin(labels, classes).sum())
    assert found == count_correct(scores[order], labels[order], classes.sort().values)
