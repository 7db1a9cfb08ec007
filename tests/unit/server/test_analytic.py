"""The large side, on features that are small enough to solve once more by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.errors import UserError
from fedbridge.models.commons import Commons
from fedbridge.models.head import Sums, one_hot, pack
from fedbridge.server.analytic import Analytic
from fedbridge.server.knowledge import Knowledge
from fedbridge.wire import Upload
from worlds import bare_commons, tiny_config

CLASSES, SIZE = 4, 3
STRENGTHS = (0.01, 0.1, 1.0)


def commons_of(public: list[list[float]] | None = None, **large: object) -> Commons:
    settings = {"regularisation": STRENGTHS, "absorb": [0.0], **large}
    config = tiny_config(large=settings, small={"temperature": 1.0, "dimension": CLASSES})
    features = torch.tensor(public or [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    return bare_commons(config, CLASSES, torch.zeros(len(features), 1, 16, 16), features)


def side(clients: tuple[str, ...] = ("a", "b"), **large: object) -> Analytic:
    return Analytic(commons_of(**large), clients)


def sums(n: int = 12, seed: int = 0, classes: tuple[int, ...] = (0, 1, 2)) -> Sums:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, SIZE)).astype(np.float32)
    return Sums.of(z, one_hot(rng.choice(classes, n), CLASSES))


def upload(client: str, of: Sums | None = None, votes: list[float] | None = None) -> Upload:
    correct = torch.tensor(votes or [0.0])
    if of is None:
        return Upload(client, 1, 1, {}, (0, 1), correct=correct)
    cross, counts = torch.from_numpy(of.cross).float(), torch.from_numpy(of.counts).float()
    return Upload(client, 1, 1, {}, (0, 1), pack(of.gram), cross, counts, correct)


def ridge(of: Sums, strength: float) -> NDArray[np.float64]:
    penalty = strength * np.trace(of.gram) / SIZE
    return np.linalg.solve(of.gram + penalty * np.eye(SIZE), of.cross)


def close(head: Tensor, expected: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(head, expected, atol=1e-4)


def test_before_any_upload_the_head_says_nothing():
    large = side()
    assert large.heads("a").shape == (1, SIZE, CLASSES)
    assert not large.heads("a").any() and not large.scores().any()


def test_the_head_is_ridge_regression_on_the_sums_of_all_clients():
    large, one, other = side(), sums(seed=1), sums(seed=2)
    large.absorb(upload("a", one))
    large.absorb(upload("b", other))
    large.finish_round([])

    close(large.heads("a")[0], ridge(one + other, STRENGTHS[large.choice[0]]))
    assert torch.equal(large.heads("a"), large.heads("b"))
    close(large.scores(), large.heads("a")[0].numpy())  # U is the identity here


def test_an_isolated_large_side_has_one_head_per_client_from_its_own_sums():
    large, one, other = side(scope="client"), sums(seed=1), sums(seed=2)
    large.absorb(upload("a", one))
    large.absorb(upload("b", other))
    large.finish_round([])

    strength = STRENGTHS[large.choice[0]]
    close(large.heads("a")[0], ridge(one, strength))
    close(large.heads("b")[0], ridge(other, strength))
    close(large.scores("b"), ridge(other, strength))


@given(st.permutations(range(5)))
def test_the_order_of_uploads_does_not_matter(order: list[int]):
    def heads(places: list[int]) -> Tensor:
        large = side(tuple("abcde"))
        for place in places:
            large.absorb(upload("abcde"[place], sums(seed=place), [float(place)]))
        large.finish_round([])
        return large.heads("a")

    torch.testing.assert_close(heads(order), heads(list(range(5))))


def test_an_upload_without_sums_adds_nothing():
    large = side()
    large.absorb(upload("a", sums()))
    large.finish_round([])
    before = large.heads("a")[0]
    large.absorb(upload("a"))
    large.finish_round([])
    assert torch.equal(large.heads("a")[0], before)


def test_classes_nobody_has_data_of_have_zero_columns():
    large = side()
    large.absorb(upload("a", sums(classes=(0, 2))))
    large.finish_round([])
    assert (large.heads("a").abs().sum((0, 1)) > 0).tolist() == [True, False, True, False]


# candidates and votes


def offered(**large: object) -> Analytic:
    """Return a large side with data, past the round in which there is one candidate."""
    made = side(**large)
    made.absorb(upload("a", sums(60)))
    made.finish_round([])
    return made


def votes(large: Analytic, **of: float) -> None:
    """Let one client vote; ``at_2=9`` means nine right answers for candidate 2, else five."""
    counts = [of.get(f"at_{place}", 5.0) for place in range(len(large.heads("a")))]
    large.absorb(upload("a", votes=counts))


def test_the_first_candidate_is_in_force_and_others_are_there_to_compare():
    heads = offered().heads("a")
    assert len(heads) == 3
    for strength in STRENGTHS:
        expected = ridge(sums(60), strength)
        assert any(np.allclose(head, expected, atol=1e-4) for head in heads)
    close(heads[0], ridge(sums(60), 0.1))  # the middle one, before anybody voted


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_candidate_that_wins_clearly_is_in_force_next(place: int):
    large = offered()
    candidates = large.heads("a").clone()

    votes(large, **{f"at_{place}": 500.0})
    large.finish_round([])

    torch.testing.assert_close(large.heads("a")[0], candidates[place])


def test_votes_of_all_clients_are_added():
    large = offered()
    candidates = large.heads("a").clone()
    large.absorb(upload("a", votes=[0.0, 0.0, 400.0]))
    large.absorb(upload("b", votes=[0.0, 300.0, 0.0]))
    large.absorb(upload("c", votes=[0.0, 300.0, 0.0]))
    large.finish_round([])
    torch.testing.assert_close(large.heads("a")[0], candidates[1])


def test_a_tie_changes_nothing_and_votes_count_for_one_round_only():
    large = offered()
    for _ in range(2):
        before = large.heads("a")[0].clone()
        votes(large)
        large.finish_round([])
        assert torch.equal(large.heads("a")[0], before)

    votes(large, at_1=500.0)
    large.finish_round([])
    moved = large.choice
    large.finish_round([])  # nobody voted
    assert large.choice == moved


@pytest.mark.parametrize(("wins", "moves"), [(100, False), (101, False), (130, True)])
def test_a_lead_that_chance_explains_changes_nothing(wins: float, moves: bool):
    large = offered()
    before = large.choice
    votes(large, at_0=100.0, at_1=wins)
    large.finish_round([])
    assert (large.choice != before) == moves


def test_votes_on_other_candidates_are_not_counted():
    large = offered()
    before = large.choice
    large.absorb(upload("a", votes=[0.0, 900.0]))
    large.absorb(upload("a", votes=[0.0, 0.0, 0.0, 900.0]))
    large.finish_round([])
    assert large.choice == before


def test_at_the_end_of_the_list_there_is_one_neighbour_less():
    large = offered()
    weakest = next(
        place
        for place, head in enumerate(large.heads("a"))
        if np.allclose(head, ridge(sums(60), STRENGTHS[0]), atol=1e-5)
    )
    votes(large, **{f"at_{weakest}": 500.0})
    large.finish_round([])
    assert STRENGTHS[large.choice[0]] == STRENGTHS[0]
    assert len(large.heads("a")) == 2


def test_class_means_need_no_candidates():
    large, of = offered(head="nearest-mean"), sums(60)
    means = of.cross / np.maximum(of.counts, 1)
    norms = np.maximum(np.linalg.norm(means, axis=0), 1e-12)
    assert len(large.heads("a")) == 1
    close(large.heads("a")[0], means / norms)


# what the large side learns from the small models


def teacher(rows: list[list[float]], classes: tuple[int, ...], name: str = "a") -> Knowledge:
    """Return a model by its distributions over its classes: with tau = 1 logits are logs."""
    embedding = torch.full((len(rows), CLASSES), -7.0)
    for place, c in enumerate(classes):
        embedding[:, c] = torch.tensor([row[place] for row in rows]).log()
    return Knowledge(name, classes, embedding)


def sure(p: list[float]) -> float:
    return 1 + sum(x * math.log(x) for x in p) / math.log(len(p))


# one item per class in the FM's space: the head is close to the identity on it
AXES = Sums.of(np.repeat(np.eye(SIZE, dtype=np.float32), 4, 0), np.repeat(np.eye(SIZE, 4), 4, 0))


def taught(models: list[Knowledge], public: list[list[float]] | None = None) -> Analytic:
    large = Analytic(commons_of(public, absorb=[0.5]), ("a",))
    large.absorb(upload("a", AXES))
    large.finish_round(models)
    return large


def own_distribution(u: list[float]) -> list[float]:
    """Return the large side's distribution: sharpness 8, the middle lambda, over three classes."""
    shrunk = 4 / (4 + 0.1 * 4)
    e = [math.exp(8 * shrunk * x) for x in u]
    return [x / sum(e) for x in e]


def test_soft_labels_by_hand():
    # an item the large side is not sure of, but which it believes to be of classes 0 and 1
    u = [0.3, 0.3, 0.0]
    p = [0.05, 0.95]
    own = own_distribution(u)
    assert sure(p) > sure(own) and own[0] + own[1] > 0.5

    found = taught([teacher([p], (0, 1))], [u]).soft

    weight = sure(p) * (own[0] + own[1])
    z = np.array([u])
    np.testing.assert_allclose(found.gram, weight * z.T @ z, rtol=1e-4)
    np.testing.assert_allclose(found.cross, weight * z.T @ np.array([[*p, 0, 0]]), rtol=1e-4)
    np.testing.assert_allclose(found.counts, weight * np.array([*p, 0, 0]), rtol=1e-4)


@pytest.mark.parametrize(
    ("u", "p", "classes"),
    [
        ([0.3, 0.3, 0.0], [0.5, 0.5], (0, 1)),  # the model is not sure
        ([1.0, 0.0, 0.0], [0.1, 0.9], (0, 1)),  # the large side is surer
        ([0.0, 0.0, 0.3], [0.05, 0.95], (0, 1)),  # of another class, as the large side believes
    ],
)
def test_what_a_small_model_may_not_teach(u: list[float], p: list[float], classes: tuple[int, int]):
    soft = taught([teacher([p], classes)], [u]).soft
    assert not soft.gram.any() and not soft.cross.any()


def test_lessons_of_several_models_add_up_in_any_order():
    public = [[0.3, 0.3, 0.0], [0.0, 0.3, 0.3]]
    one = teacher([[0.05, 0.95], [0.5, 0.5]], (0, 1), "a")
    other = teacher([[0.5, 0.5], [0.1, 0.9]], (1, 2), "b")
    third = teacher([[0.9, 0.1], [0.2, 0.8]], (0, 1), "c")

    apart = [taught([model], public).soft for model in (one, other, third)]
    for together in (
        taught([one, other, third], public).soft,
        taught([third, one, other], public).soft,
    ):
        for part in ("gram", "cross", "counts"):
            expected = sum(getattr(soft, part) for soft in apart)
            np.testing.assert_allclose(getattr(together, part), expected, atol=1e-6)
    assert all(soft.gram.any() for soft in apart)


def test_soft_labels_enter_the_head_with_their_weight():
    large = taught([teacher([[0.05, 0.95]], (0, 1))], [[0.3, 0.3, 0.0]])
    assert large.soft.gram.any()
    strength = STRENGTHS[large.choice[0]]
    close(large.heads("a")[0], ridge(AXES + large.soft.scaled(0.5), strength))


def test_a_newer_model_replaces_what_an_older_one_said():
    public = [[0.3, 0.3, 0.0]]
    older, newer = teacher([[0.95, 0.05]], (0, 1)), teacher([[0.1, 0.9]], (0, 1))
    large = Analytic(commons_of(public, absorb=[0.0, 0.5]), ("a",))
    large.absorb(upload("a", AXES))
    large.finish_round([older])
    large.finish_round([newer])

    straight = Analytic(commons_of(public, absorb=[0.0, 0.5]), ("a",))
    straight.absorb(upload("a", AXES))
    straight.finish_round([newer])

    np.testing.assert_allclose(large.soft.gram, straight.soft.gram)
    np.testing.assert_allclose(large.soft.cross, straight.soft.cross)
    torch.testing.assert_close(large.heads("a"), straight.heads("a"))
    large.finish_round([])
    assert not large.soft.gram.any()


def test_what_was_absorbed_does_not_vouch_for_what_is_absorbed_next():
    public = [[0.3, 0.3, 0.0]]
    first, second = teacher([[0.95, 0.05]], (0, 1)), teacher([[0.2, 0.8]], (0, 1))
    twice = taught([first], public)
    twice.finish_round([second])
    np.testing.assert_allclose(twice.soft.gram, taught([second], public).soft.gram)


def test_a_weight_of_zero_switches_absorbing_off():
    large = side(absorb=[0.0])
    large.absorb(upload("a", AXES))
    large.finish_round([teacher([[0.05, 0.95]] * 3, (0, 1))])
    assert not large.soft.gram.any()
    close(large.heads("a")[0], ridge(AXES, STRENGTHS[large.choice[0]]))


def test_votes_choose_the_weight_of_what_was_absorbed():
    public = [[0.3, 0.3, 0.0]]
    large = Analytic(commons_of(public, absorb=[0.0, 3.0]), ("a",))
    large.absorb(upload("a", AXES))
    model = teacher([[0.05, 0.95]], (0, 1))
    large.finish_round([model])
    strength = STRENGTHS[large.choice[0]]
    absorbing = ridge(AXES + large.soft.scaled(3.0), strength)
    heads = large.heads("a")
    place = next(i for i, head in enumerate(heads) if np.allclose(head, absorbing, atol=1e-5))
    assert place > 0

    votes(large, **{f"at_{place}": 500.0})
    large.finish_round([model])

    close(large.heads("a")[0], absorbing)


def test_a_model_of_classes_the_large_side_has_no_data_of_teaches_nothing():
    soft = taught([teacher([[0.05, 0.95]], (1, 3))], [[0.0, 0.0, 0.0]]).soft
    assert np.isfinite(soft.gram).all() and np.isfinite(soft.cross).all()
    nobody = Analytic(commons_of([[0.3, 0.3, 0.0]], absorb=[0.5]), ("a",))
    nobody.finish_round([teacher([[0.05, 0.95]], (0, 1))])
    assert not nobody.soft.gram.any() and not nobody.heads("a").any()


@pytest.mark.parametrize("scope", ["federation", "client"])
def test_save_and_load_keep_all_heads_and_the_choice(scope: str, tmp_path: Path):
    settings = {"scope": scope, "absorb": [0.0, 0.5]}
    large = side(**settings)
    for name in ("a", "b"):
        large.absorb(upload(name, sums(40, ord(name))))
    model = teacher([[0.05, 0.95]] * 3, (0, 1))
    large.finish_round([model])
    votes(large, at_1=500.0)
    large.finish_round([model])
    large.save(tmp_path)

    again = side(**settings)
    again.load(tmp_path)

    assert again.choice == large.choice
    for step in range(2):
        for name in ("a", "b"):
            assert torch.equal(again.heads(name), large.heads(name))
        for each in (large, again):
            votes(each, at_2=400.0 + step)
            each.finish_round([model])


@pytest.mark.parametrize("field", ["regularisation", "absorb"])
def test_there_must_be_at_least_one_candidate(field: str):
    with pytest.raises(UserError, match=rf"large\.{field}"):
        commons_of(**{field: []})
