"""The large side, on features that are small enough to add up once more by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.errors import UserError
from fedbridge.methods.context import SharedContext
from fedbridge.methods.registry import head_of
from fedbridge.methods.rounds import PublicPredictions
from fedbridge.methods.sums import SummedUp
from fedbridge.models.statistics import SufficientStatistics, one_hot, packed, unpacked
from fedbridge.wire import State, Upload
from worlds import bare_context, same_state, tiny_config

CLASSES, SIZE = 4, 3
PARTS = ("gram", "cross", "counts")


def context_of(public: list[list[float]] | None = None, **large: object) -> SharedContext:
    if large.get("head", "analytic") == "analytic":
        large = {"regularisation": [0.01, 0.1, 1.0], **large}
    config = tiny_config(large=large, small={"temperature": 1.0, "dimension": CLASSES})
    features = torch.tensor(public or [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    return bare_context(config, CLASSES, torch.zeros(len(features), 1, 16, 16), features)


def side(clients: tuple[str, ...] = ("a", "b"), **large: object) -> SummedUp:
    return side_of(context_of(**large), clients)


def side_of(shared: SharedContext, clients: tuple[str, ...]) -> SummedUp:
    side = head_of(shared.config).server(shared, clients, shared.config.large)
    assert isinstance(side, SummedUp)
    return side


def sums(n: int = 12, seed: int = 0, classes: tuple[int, ...] = (0, 1, 2)) -> SufficientStatistics:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, SIZE)).astype(np.float32)
    return unpacked(packed(SufficientStatistics.of(z, one_hot(rng.choice(classes, n), CLASSES))))


def upload(client: str, of: SufficientStatistics | None = None) -> Upload:
    parts: dict[str, Any] = {} if of is None else dict(packed(of))
    return Upload(client, 1, 1, {}, (0, 1), **parts)


def round_(large: SummedUp, **of: SufficientStatistics | None) -> dict[str, State]:
    """Let some clients be sent what is there and upload sums, or none; return what was sent."""
    sent = {client: large.adapter(client) for client in of}
    for client, theirs in of.items():
        large.absorb(upload(client, theirs))
    large.finish_round([])
    return sent


def close(found: SufficientStatistics, expected: SufficientStatistics) -> None:
    for part in PARTS:
        np.testing.assert_allclose(getattr(found, part), getattr(expected, part), atol=1e-5)


# who is sent which sums, and when


def test_before_any_upload_there_is_nothing_to_send():
    large = side()
    assert large.adapter("a") == {} and large.adapter("b") == {}
    large.finish_round([])
    assert large.adapter("a") == {}


def test_everybody_is_sent_the_sums_of_all_clients():
    large, one, other = side(), sums(seed=1), sums(seed=2)
    assert round_(large, a=one, b=other) == {"a": {}, "b": {}}
    close(unpacked(large.adapter("a")), one + other)
    assert same_state(large.adapter("a"), large.adapter("b"))


def test_what_is_sent_are_float32_and_of_gram_the_triangle():
    large = side()
    round_(large, a=sums(), b=None)
    sent = large.adapter("a")
    shapes = {"gram": (SIZE * (SIZE + 1) // 2,), "cross": (SIZE, CLASSES), "counts": (CLASSES,)}
    assert {name: tuple(part.shape) for name, part in sent.items()} == shapes
    assert {part.dtype for part in sent.values()} == {torch.float32}
    assert all(part.is_contiguous() for part in sent.values())


def test_nothing_is_sent_twice():
    large = side()
    round_(large, a=sums(seed=1), b=sums(seed=2))
    second = round_(large, a=None, b=None)
    assert second["a"] and second["b"]
    for _ in range(2):
        assert round_(large, a=None, b=None) == {"a": {}, "b": {}}
    round_(large, a=None, b=sums(seed=3))  # something new
    assert all(round_(large, a=None, b=None).values())
    assert round_(large, a=None, b=None) == {"a": {}, "b": {}}


def test_who_comes_late_is_sent_everything_at_once():
    large, parts = side(("a", "late")), [sums(seed=seed) for seed in (1, 2)]
    for part in parts:
        round_(large, a=part)
        round_(large, a=None)
    assert large.adapter("a") == {}
    close(unpacked(large.adapter("late")), parts[0] + parts[1])
    round_(large, late=sums(seed=3), a=None)
    assert large.adapter("a") and large.adapter("late")


def test_who_was_away_is_sent_what_it_missed():
    large = side()
    round_(large, a=sums(seed=1), b=sums(seed=2))
    round_(large, a=None, b=None)
    round_(large, a=sums(seed=3))
    round_(large, a=None)
    assert large.adapter("a") == {}
    expected = sums(seed=1) + sums(seed=2) + sums(seed=3)
    close(unpacked(large.adapter("b")), expected)
    assert large.adapter("b")  # and it is offered until the client has answered


def test_to_look_at_what_would_be_sent_changes_nothing():
    large = side()
    round_(large, a=sums(), b=None)
    assert same_state(large.adapter("a"), large.adapter("a"))  # as for a measurement
    assert all(round_(large, a=None, b=None).values())


def test_sums_that_come_while_a_round_lasts_wait_for_the_next():
    large = side()
    round_(large, a=sums(seed=1), b=None)
    first = large.adapter("b")
    large.absorb(upload("a", sums(seed=2)))
    large.absorb(upload("b"))  # it has answered to the sums as they were before
    large.finish_round([])
    close(unpacked(first), sums(seed=1))
    for client in ("a", "b"):
        close(unpacked(large.adapter(client)), sums(seed=1) + sums(seed=2))


@given(st.permutations(range(5)))
def test_the_order_of_uploads_does_not_matter(order: list[int]):
    def sent(places: list[int]) -> SufficientStatistics:
        large = side(tuple("abcde"))
        for place in places:
            large.absorb(upload("abcde"[place], sums(seed=place)))
        large.finish_round([])
        return unpacked(large.adapter("a"))

    close(sent(order), sent(list(range(5))))


def test_class_means_need_no_gram():
    large, one, other = side(head="nearest-mean"), sums(seed=1), sums(seed=2)
    for client, of in (("a", one), ("b", other)):
        whole = upload(client, of)
        parts = {"gram": torch.zeros(0), "cross": whole.cross, "counts": whole.counts}
        large.absorb(Upload(client, 1, 1, {}, (0, 1), **parts))
    large.finish_round([])
    sent = large.adapter("a")
    assert len(sent["gram"]) == 0
    np.testing.assert_allclose(sent["cross"], one.cross + other.cross, atol=1e-5)
    np.testing.assert_array_equal(sent["counts"], one.counts + other.counts)


# what the large side learns from the small models


def teacher(
    rows: list[list[float]], classes: tuple[int, ...], name: str = "a"
) -> PublicPredictions:
    """Return a model by its distributions over its classes: with tau = 1 logits are logs."""
    embedding = torch.full((len(rows), CLASSES), -7.0)
    for place, c in enumerate(classes):
        embedding[:, c] = torch.tensor([row[place] for row in rows]).log()
    return PublicPredictions(name, classes, embedding)


def sure(p: list[float]) -> float:
    return 1 + sum(x * math.log(x) for x in p) / math.log(len(p))


# one item per class in the FM's space: the head is close to the identity on it
AXES = SufficientStatistics.of(
    np.repeat(np.eye(SIZE, dtype=np.float32), 4, 0), np.repeat(np.eye(SIZE, 4), 4, 0)
)


def taught(models: list[PublicPredictions], public: list[list[float]] | None = None) -> SummedUp:
    large = side_of(context_of(public, student_weight=0.5), ("a",))
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


def test_soft_labels_join_what_is_sent_with_their_weight():
    large = taught([teacher([[0.05, 0.95]], (0, 1))], [[0.3, 0.3, 0.0]])
    assert large.soft.gram.any()
    close(unpacked(large.adapter("a")), AXES + large.soft.scaled(0.5))


def test_what_the_models_say_is_new_in_every_round():
    large = taught([teacher([[0.05, 0.95]], (0, 1))], [[0.3, 0.3, 0.0]])
    for p in ([0.1, 0.9], [0.1, 0.9]):
        large.absorb(upload("a"))
        large.finish_round([teacher([p], (0, 1))])
        close(unpacked(large.adapter("a")), AXES + large.soft.scaled(0.5))


def test_a_newer_model_replaces_what_an_older_one_said():
    public = [[0.3, 0.3, 0.0]]
    older, newer = teacher([[0.95, 0.05]], (0, 1)), teacher([[0.1, 0.9]], (0, 1))
    large = taught([older], public)
    large.finish_round([newer])

    straight = taught([newer], public)

    np.testing.assert_allclose(large.soft.gram, straight.soft.gram)
    np.testing.assert_allclose(large.soft.cross, straight.soft.cross)
    assert same_state(large.adapter("a"), straight.adapter("a"))
    large.finish_round([])
    assert not large.soft.gram.any()


def test_what_was_absorbed_does_not_vouch_for_what_is_absorbed_next():
    public = [[0.3, 0.3, 0.0]]
    first, second = teacher([[0.95, 0.05]], (0, 1)), teacher([[0.2, 0.8]], (0, 1))
    twice = taught([first], public)
    twice.finish_round([second])
    np.testing.assert_allclose(twice.soft.gram, taught([second], public).soft.gram)


def test_a_weight_of_zero_switches_absorbing_off():
    large = side(student_weight=0.0)
    large.absorb(upload("a", AXES))
    large.finish_round([teacher([[0.05, 0.95]] * 3, (0, 1))])
    assert not large.soft.gram.any()
    close(unpacked(large.adapter("a")), AXES)
    large.absorb(upload("a"))
    large.finish_round([teacher([[0.05, 0.95]] * 3, (0, 1))])
    assert large.adapter("a") == {}  # then there is nothing new either


def test_a_model_of_classes_the_large_side_has_no_data_of_teaches_nothing():
    soft = taught([teacher([[0.05, 0.95]], (1, 3))], [[0.0, 0.0, 0.0]]).soft
    assert np.isfinite(soft.gram).all() and np.isfinite(soft.cross).all()
    nobody = side_of(context_of([[0.3, 0.3, 0.0]], student_weight=0.5), ("a",))
    nobody.finish_round([teacher([[0.05, 0.95]], (0, 1))])
    assert not nobody.soft.gram.any()
    assert not unpacked(nobody.adapter("a")).cross.any()


# save and load


@pytest.mark.parametrize("kind", ["analytic", "nearest-mean"])
@pytest.mark.parametrize("absorb", [0.0, 0.5])
@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_after_load_everybody_is_sent_the_same(done: int, absorb: float, kind: str, tmp_path: Path):
    names = ("a", "b", "late")
    rounds = [
        {"a": sums(40, 1), "b": sums(40, 2)},
        {"a": None, "b": None},
        {"a": sums(40, 3)},
        {"late": sums(40, 4), "b": None},
        {"late": None, "a": None},
    ]
    model = teacher([[0.05, 0.95]] * 3, (0, 1))

    def go_on(large: SummedUp, todo: list[dict[str, SufficientStatistics | None]]) -> list[State]:
        sent = [large.adapter(name) for name in names]
        for uploads in todo:
            for client, of in uploads.items():
                large.absorb(upload(client, of))
            large.finish_round([model])
            sent += [large.adapter(name) for name in names]
        return sent

    large = side(names, student_weight=absorb, head=kind)
    go_on(large, rounds[:done])
    large.save(tmp_path)
    again = side(names, student_weight=absorb, head=kind)
    again.load(tmp_path)

    expected, found = go_on(large, rounds[done:]), go_on(again, rounds[done:])
    assert all(same_state(one, other) for one, other in zip(found, expected, strict=True))
    assert any(found) and (absorb > 0 or not all(found))


def test_a_weight_must_not_be_negative():
    with pytest.raises(UserError, match=r"large\.student_weight"):
        context_of(student_weight=-1.0)
