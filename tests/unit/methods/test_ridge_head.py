"""The head that a client solves for itself, on features that are small enough for paper."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.methods.analytic import PERFECT, Place, RidgeHead, _climb
from fedbridge.methods.context import SharedContext
from fedbridge.methods.registry import head_of
from fedbridge.models.calibration import sharpened_loss
from fedbridge.models.statistics import SufficientStatistics, one_hot, packed
from fedbridge.wire import State
from worlds import bare_context, same_state, tiny_config

STRENGTHS, OWN = (0.01, 0.1, 1.0), (0.0, 1.0, 10.0)
Table = NDArray[np.float64]


def context_of(size: int = 2, classes: int = 3, **large: object) -> SharedContext:
    candidates = {"regularisation": STRENGTHS, "personal_weights": OWN}
    if large.get("head", "analytic") == "analytic":
        large = candidates | large
    config = tiny_config(large=large)
    return bare_context(config, classes, torch.zeros(2, 1, 16, 16), torch.zeros(2, size))


def solved(size: int = 2, classes: int = 3, **large: object) -> RidgeHead:
    shared = context_of(size, classes, **large)
    head = head_of(shared.config).client(shared, shared.config.large)
    assert isinstance(head, RidgeHead)
    return head


def sums(z: list[list[float]], labels: list[int], classes: int = 3) -> SufficientStatistics:
    return SufficientStatistics.of(np.array(z, np.float32), one_hot(np.array(labels), classes))


ALL = sums([[1, 0], [1, 0], [0, 1], [0, 1]], [0, 0, 1, 1])  # G = H = diag(2, 2)
MINE = sums([[1, 0]], [0])


def close(head: Tensor, expected: Any) -> None:
    np.testing.assert_allclose(head, expected, atol=1e-6)


# the solution


def test_before_anything_is_known_the_head_says_nothing():
    assert solved().weights.shape == (2, 3) and not solved().weights.any()


def test_everybodys_sums_by_hand():
    head = solved(regularisation=[0.5])
    head.take(packed(ALL))
    # the mean eigenvalue is 2, so lambda = 1 and W = 2 / (2 + 1)
    close(head.weights, [[2 / 3, 0, 0], [0, 2 / 3, 0]])


def test_own_sums_count_more_by_hand():
    head = solved(regularisation=[0.5], personal_weights=[4.0])
    head.take(packed(ALL))
    head.add(MINE)
    # G + 4 G_k = diag(6, 2), of mean eigenvalue 4: lambda = 2, and W = diag(6 / 8, 2 / 4);
    # but the client has met class 0 alone, and of class 1 it takes what everybody has: 2 / 3
    close(head.weights, [[6 / 8, 0, 0], [0, 2 / 3, 0]])

    head.add(sums([[0, 1]], [1]))
    # G + 4 G_k = diag(6, 6): lambda = 3, and now both columns are its own
    close(head.weights, [[6 / 9, 0, 0], [0, 6 / 9, 0]])


def test_class_means_by_hand():
    head = solved(head="nearest-mean")
    whole = sums([[3, 0], [3, 8], [0, 5]], [0, 0, 1])
    head.take(packed(whole) | {"gram": torch.zeros(0)})
    close(head.weights, [[0.6, 0, 0], [0.8, 1, 0]])
    head.add(sums([[3, 0]], [0]))  # own sums do not count more here
    close(head.weights, [[0.6, 0, 0], [0.8, 1, 0]])
    before = head.choice
    head.select_hyperparameters(
        torch.tensor([[1.0, 0], [0, 1.0]]), torch.tensor([1, 0]), torch.arange(2)
    )
    assert head.choice == before


@pytest.mark.parametrize("kind", ["analytic", "nearest-mean"])
def test_on_its_own_a_client_solves_from_its_own_sums_alone(kind: str):
    strength = {"regularisation": [0.5]} if kind == "analytic" else {}
    head = solved(**strength, scope="client", head=kind)
    assert not head.weights.any()
    head.add(MINE)
    # G = diag(1, 0), of mean eigenvalue 1 / 2: lambda = 1 / 4
    expected = 1 / (1 + 1 / 4) if kind == "analytic" else 1
    close(head.weights, [[expected, 0, 0], [0, 0, 0]])
    # how much more its own count makes no difference, and nothing there is tried
    head.select_hyperparameters(
        torch.tensor([[1.0, 0], [0, 1.0]]), torch.tensor([0, 1]), torch.arange(2)
    )
    assert head.choice[1] == 0


def test_new_sums_of_everybodys_replace_those_there_were():
    head = solved(regularisation=[0.5], personal_weights=[0.0])
    head.take(packed(sums([[1, 1]], [2])))
    head.take(packed(ALL))
    head.take({})  # nothing new
    close(head.weights, [[2 / 3, 0, 0], [0, 2 / 3, 0]])


def test_own_sums_are_as_exact_as_those_that_travelled():
    z = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    own = SufficientStatistics.of(z, one_hot(np.arange(9) % 3, 3))
    one, other = solved(), solved()
    one.add(own)
    other.load({**one.state()})
    assert torch.equal(one._head((0, 1)), other._head((0, 1)))
    np.testing.assert_array_equal(one.own.gram, one.own.gram.astype(np.float32))


# the choice


def ridge(of: SufficientStatistics, strength: float) -> Table:
    size = len(of.gram)
    penalty = strength * np.trace(of.gram) / size
    return np.linalg.solve(of.gram + penalty * np.eye(size), of.cross)


def losses(
    all_: SufficientStatistics, own: SufficientStatistics, z: Tensor, labels: Tensor
) -> dict[Place, float]:
    """Solve for every choice, without the code under test."""
    found = {}
    for i, j in product(range(len(STRENGTHS)), range(len(OWN))):
        head = torch.from_numpy(ridge(all_ + own.scaled(OWN[j]), STRENGTHS[i])).float()
        found[i, j] = sharpened_loss(z @ head, labels)
    return found


def random_problem(
    seed: int, shift: float
) -> tuple[SufficientStatistics, SufficientStatistics, Tensor, Tensor]:
    """Return everybody's sums, the client's and its validation items, ``shift`` apart."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(3, 4))
    moved = means + shift * rng.normal(size=(3, 4))

    def draw(at: Table, n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        labels = np.arange(n) % 3
        return (at[labels] + 0.7 * rng.normal(size=(n, 4))).astype(np.float32), labels

    theirs, own = (
        SufficientStatistics.of(z, one_hot(y, 3)) for z, y in (draw(means, 90), draw(moved, 12))
    )
    z, labels = draw(moved, 30)
    return theirs + own, own, torch.from_numpy(z), torch.from_numpy(labels)


@pytest.mark.parametrize("seed", range(6))
def test_no_step_from_the_choice_has_a_lower_loss(seed: int):
    all_, own, z, labels = random_problem(seed, shift=1.0)
    head = solved(4)
    head.take(packed(all_))
    head.add(own)
    start = head.choice
    assert start == (1, 0)  # the middle lambda, and one's own as anybody's

    head.select_hyperparameters(z, labels, torch.arange(3))

    found, (i, j) = losses(all_, own, z, labels), head.choice
    of = {choice: max(PERFECT, loss) for choice, loss in found.items()}
    assert of[i, j] <= of[start] + 1e-9
    for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
        assert of[i, j] <= of.get(near, 9.0) + 1e-6
    expected = ridge(all_ + own.scaled(OWN[j]), STRENGTHS[i])
    np.testing.assert_allclose(head.weights, expected, atol=1e-4)


def test_a_head_that_is_always_right_is_not_exchanged_for_another():
    """Others are right as well; what is left of their losses is no reason to prefer them."""
    all_, own, z, labels = random_problem(18, shift=3.0)
    of = losses(all_, own, z, labels)
    assert min(of.values()) < of[1, 0] < PERFECT
    head = solved(4)
    head.take(packed(all_))
    head.add(own)
    head.select_hyperparameters(z, labels, torch.arange(3))
    assert head.choice == (1, 0) and head.settled


def test_among_heads_that_are_all_right_the_first_that_is_reached_is_kept():
    """A step further the loss is lower still, but only by what the search for it has left."""
    all_, own, z, labels = random_problem(19, shift=1.0)
    of = losses(all_, own, z, labels)
    assert of[2, 2] < of[1, 2] < PERFECT < min(of[1, 0], of[1, 1])
    head = solved(4)
    head.take(packed(all_))
    head.add(own)
    head.select_hyperparameters(z, labels, torch.arange(3))
    assert head.choice == (1, 2)


def test_own_sums_count_more_where_the_client_is_a_domain_of_its_own():
    def chosen(shift: float) -> float:
        all_, own, z, labels = random_problem(1, shift)
        head = solved(4)
        head.take(packed(all_))
        head.add(own)
        head.select_hyperparameters(z, labels, torch.arange(3))
        return OWN[head.choice[1]]

    assert chosen(3.0) == 10.0
    # where all agree there is nothing to gain
    same = solved()
    same.take(packed(sums([[1, 0], [0, 1]] * 5, [0, 1] * 5)))
    same.add(sums([[1, 0], [0, 1]], [0, 1]))
    same.select_hyperparameters(
        torch.tensor([[1.0, 0], [0, 1.0]]), torch.tensor([0, 1]), torch.arange(2)
    )
    assert OWN[same.choice[1]] == 0.0


def test_only_classes_that_were_seen_compete():
    """With class 2 among them, the very same items would choose otherwise."""
    z, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 2])
    head = solved()
    head.take(packed(ALL))
    head.select_hyperparameters(z, labels, torch.tensor([1, 2]))  # labels are ids, not columns
    expected = sharpened_loss(z @ head._head(head.choice)[:, [1, 2]], torch.tensor([0, 1]))
    assert np.isfinite(expected)


def test_it_is_settled_once_for_the_same_sums():
    all_, own, z, labels = random_problem(1, 3.0)
    seen = torch.arange(3)
    head = solved(4)
    head.take(packed(all_))
    head.add(own)
    head.select_hyperparameters(z[:0], labels[:0], seen)  # nothing to choose by
    assert head.choice == (1, 0)
    head.select_hyperparameters(z, labels, seen)
    settled = head.choice
    assert settled != (1, 0)
    head.select_hyperparameters(-z, labels, seen)
    head.take({})
    head.select_hyperparameters(-z, labels, seen)
    assert head.choice == settled
    # with new sums it goes on from where it was
    head.take(packed(all_))
    again = head.choice
    head.select_hyperparameters(z, labels, seen)
    assert again == head.choice == settled


@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)
)
def test_climbing_reaches_the_top_of_a_single_hill(
    width: int, height: int, top: int, side: int, start: int
):
    goal = min(top, width - 1), min(side, height - 1)
    asked: list[Place] = []

    def loss(place: Place) -> float:
        asked.append(place)
        return float(abs(place[0] - goal[0]) + abs(place[1] - goal[1]))

    here = min(start, width - 1), min(start, height - 1)
    assert _climb([here], (width, height), loss) == goal
    assert all(0 <= i < width and 0 <= j < height for i, j in asked)


def test_climbing_stays_where_nothing_is_better():
    flat = _climb([(1, 1)], (3, 3), lambda place: 1.0)
    valley = _climb([(0, 0)], (3, 3), lambda place: float(place not in ((0, 0), (2, 2))))
    assert flat == (1, 1) and valley == (0, 0)


def test_climbing_from_the_best_start_leaves_a_plateau_by_hand():
    """From (1, 0) every step stays on the plateau or goes down; three steps away is the top."""
    surface = [
        [2.0, 2.0, 1.5, 0.4],
        [1.1, 1.1, 1.2, 0.5],
        [2.0, 2.0, 1.5, 0.9],
    ]
    asked: list[Place] = []

    def loss(place: Place) -> float:
        asked.append(place)
        return surface[place[0]][place[1]]

    assert _climb([(1, 0)], (3, 4), loss) == (1, 0)
    asked.clear()
    assert _climb([(1, own) for own in range(4)], (3, 4), loss) == (0, 3)
    assert set(asked) == {(1, 0), (1, 1), (1, 2), (1, 3), (0, 3), (2, 3), (0, 2)}


def test_a_client_for_whom_the_head_of_all_only_guesses_finds_its_own_weight():
    all_, own, z, labels = random_problem(56, shift=2.0)
    of = losses(all_, own, z, labels)
    assert _climb([(1, 0)], (3, 3), of.__getitem__) == (1, 0)
    assert of[1, 0] == pytest.approx(math.log(3))
    head = solved(4)
    head.take(packed(all_))
    head.add(own)

    head.select_hyperparameters(z, labels, torch.arange(3))

    assert head.choice == min(of, key=of.__getitem__) == (2, 2)


def test_a_choice_in_force_is_where_the_next_climb_begins():
    """From the start, these items would lead elsewhere."""
    all_, own, z, labels = random_problem(9, shift=1.0)
    found = []
    for in_force in ((1, 0), (0, 1)):
        head = solved(4)
        head.take(packed(all_))
        head.add(own)
        head.load(head.state() | {"choice": torch.tensor([*in_force, 0])})
        head.select_hyperparameters(z, labels, torch.arange(3))
        found.append(head.choice)
    assert found == [(1, 2), (0, 1)]


# what is kept


@pytest.mark.parametrize("kind", ["analytic", "nearest-mean"])
@pytest.mark.parametrize("scope", ["federation", "client"])
@pytest.mark.parametrize("settled", [True, False])
def test_after_load_everything_is_the_same_bit_for_bit(kind: str, scope: str, settled: bool):
    all_, own, z, labels = random_problem(2, 2.0)
    head, again = (solved(4, head=kind, scope=scope) for _ in range(2))
    head.take(packed(all_))
    head.add(own)
    if settled:
        head.select_hyperparameters(z, labels, torch.arange(3))

    again.load({key: value.clone() for key, value in head.state().items()})

    assert same_state(again.state(), head.state())
    assert again.choice == head.choice
    assert torch.equal(again.weights, head.weights)
    for each in (head, again):
        each.select_hyperparameters(-z, labels, torch.arange(3))
        each.add(own)
        each.select_hyperparameters(z, labels, torch.arange(3))
    assert torch.equal(again.weights, head.weights) and again.choice == head.choice


def test_what_is_saved_can_be_written_as_it_is():
    head = solved()
    head.take(packed(ALL))
    state: State = head.state()
    assert all(isinstance(value, Tensor) and value.is_contiguous() for value in state.values())
    assert {key.partition("/")[0] for key in state} == {"total", "own", "choice"}


# what may be chosen from


@pytest.mark.parametrize("field", ["regularisation", "own"])
def test_there_must_be_at_least_one_candidate(field: str):
    with pytest.raises(UserError, match=rf"large\.{field}"):
        context_of(**{field: []})
    with pytest.raises(UserError, match=rf"large\.{field}"):
        context_of(**{field: [-1.0]})


# sums that are of no items


def poisoned(by: float = 1e6) -> SufficientStatistics:
    """Return sums with the diagonal of items that are of none: an eigenvalue is below 0."""
    return SufficientStatistics(
        by * np.array([[1.0, 2.0], [2.0, 1.0]]), by * np.ones((2, 3)), np.ones(3)
    )


@pytest.mark.parametrize("later", [False, True])
def test_sums_that_give_no_head_leave_the_one_before(later: bool):
    head = solved(regularisation=[0.5])
    head.take(packed(ALL))
    before = head.weights.clone()
    head.take(packed(poisoned()))
    assert head.behind and torch.equal(head.weights, before)
    if later:  # and are forgotten with the next ones that do
        head.take(packed(ALL + MINE))
        # G = diag(3, 2), the mean eigenvalue is 2.5, so lambda = 1.25
        close(head.weights, [[3 / 4.25, 0, 0], [0, 2 / 3.25, 0]])
        assert not head.behind


def test_one_that_had_no_head_yet_goes_on_without():
    head = solved(regularisation=[0.5])
    head.take(packed(poisoned()))
    assert head.behind and not head.weights.any()
    head.add(MINE)
    assert head.weights.isfinite().all()


def test_where_a_ridge_is_too_weak_a_stronger_one_is_taken():
    head = solved(regularisation=[0.1, 3.0])
    head.take(packed(poisoned(1.0)))  # eigenvalues 3 and -1, mean 1: 0.1 is too weak, 3 is not
    assert not head.behind
    # (G + 3 I) w = (1, 1) by symmetry: 6 w = 1
    close(head.weights, np.full((2, 3), 1 / 6))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_own_sums_that_are_no_numbers_are_left_aside(value: float):
    head = solved(regularisation=[0.5], scope="client")
    head.add(ALL)
    before = head.weights.clone()
    head.add(SufficientStatistics(np.full((2, 2), value), np.zeros((2, 3)), np.ones(3)))
    assert torch.equal(head.weights, before)


@pytest.mark.parametrize("kind", ["analytic", "nearest-mean"])
def test_a_state_that_holds_such_sums_can_be_taken_up(kind: str):
    wrong = (
        poisoned()
        if kind == "analytic"
        else SufficientStatistics(ALL.gram, ALL.cross * np.nan, ALL.counts)
    )
    one, other = solved(head=kind), solved(head=kind)
    one.add(MINE)
    kept = one.state() | {f"total/{k}": v for k, v in packed(wrong).items()}
    kept["choice"] = kept["choice"][:3]  # as it was before anybody looked
    other.load(kept)
    alone = solved(head=kind)
    alone.take(packed(MINE))
    alone.add(MINE)
    assert other.behind
    close(other.weights, alone.weights)


def test_that_it_is_behind_outlives_a_restart():
    one, other = solved(), solved()
    one.take(packed(ALL))
    one.take(packed(poisoned()))
    other.load(one.state())
    assert other.behind and torch.equal(other.weights, one.weights)
