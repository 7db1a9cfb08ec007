from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedbridge.config.models import Large
from fedbridge.methods.sums import sum_faults
from fedbridge.models.statistics import SufficientStatistics, packed, possible
from fedbridge.server.admission import MOST_ITEMS, Expected, expectation, refusal
from fedbridge.wire import State, Step, Upload
from worlds import World, make_world, play, tiny_config

SUMMED = partial(sum_faults, options=Large())
"""What a head from sums looks at in an upload."""

FIRST = Step(1, 1)
Change = Callable[[Upload], Upload]


def expected(world: World, step: Step = FIRST) -> Expected:
    trained = world.server().large.trained
    return expectation(world.shared, world.models, trained).of_step(step, world.models, {})


@pytest.fixture(scope="module")
def upload(world: World) -> Upload:
    return play(world, [FIRST]).transport.uploads[0]


def copied(upload: Upload, part: str, place: Any, value: float) -> Upload:
    """Return an upload with one number of an array or of an array of its state changed."""
    field, slash, name = part.partition("/")
    if slash:
        arrays = getattr(upload, field)
        return replace(upload, **{field: arrays | {name: written(arrays[name], place, value)}})
    return replace(upload, **{part: written(getattr(upload, part), place, value)})


def written(array: Tensor, place: Any, value: float) -> Tensor:
    changed = array.clone()
    changed[place] = value
    return changed


def number(part: str, place: Any, value: float) -> Change:
    return lambda upload: copied(upload, part, place, value)


def field(**values: Any) -> Change:
    return lambda upload: replace(upload, **values)


def state(change: Callable[[State], Any]) -> Change:
    return lambda upload: replace(upload, state=change(dict(upload.state)))


def no_gram(gram: Tensor, size: int) -> Tensor:
    """Return products of no features, whose lengths are those of some."""
    upper = torch.triu_indices(size, size)
    lengths = gram[upper[0] == upper[1]].sqrt()
    signs = 1 - 2.0 * torch.randint(2, gram.shape, generator=torch.Generator().manual_seed(0))
    wrong = 0.9 * signs * lengths[upper[0]] * lengths[upper[1]]
    return torch.where(upper[0] == upper[1], gram, wrong)


def scaled(factor: float) -> Change:
    return state(lambda s: {k: v * factor if v.is_floating_point() else v for k, v in s.items()})


WEIGHT, VARIANCE = "projector.weight", "backbone.layers.2.running_var"
COUNTER = "backbone.layers.2.num_batches_tracked"
NAN = float("nan")
# client-1 meets classes 0 and 2 of 8 in its first task; features are 16, embeddings 32 wide
HOSTILE: dict[str, tuple[Change, str]] = {
    "unknown client": (field(client="eve"), "'eve': client: must be one of the federation's"),
    "a client not asked": (field(client="client-2"), "client: must be one of those asked"),
    "earlier step": (field(task=0), "task, round: must be (1, 1), found (0, 1)"),
    "later step": (field(round=2), "task, round: must be (1, 1), found (1, 2)"),
    "negative items": (
        field(num_examples=-1),
        f"num_examples: must be from 0 to {MOST_ITEMS}, found -1",
    ),
    "absurd items": (
        field(num_examples=10**400),
        f"num_examples: must be from 0 to {MOST_ITEMS}, found 1000",
    ),
    "other items": (field(num_examples=7), "counts: must add up to items, 7, found"),
    "absurd own task": (
        field(client_task=10**400),
        f"client_task: must be from 0 to {MOST_ITEMS}, found 1000",
    ),
    "no class": (field(seen=()), "seen: must hold a class, found none"),
    "a class twice": (
        field(seen=(0, 0, 2)),
        "seen: must be ascending, each class once, found (0, 0",
    ),
    "classes in disorder": (field(seen=(2, 0)), "seen: must be ascending, each class once, found"),
    "an unknown class": (field(seen=(0, 2, 8)), "seen: must be classes from 0 to 7, found 8"),
    "a negative class": (field(seen=(-1, 0, 2)), "seen: must be classes from 0 to 7, found -1"),
    "a missing array": (
        state(lambda s: {k: s[k] for k in s if k != WEIGHT}),
        f"state: {WEIGHT!r} must",
    ),
    "one array more": (
        state(lambda s: {**s, "x": s[WEIGHT]}),
        "state: must have 10 arrays, found one",
    ),
    "another shape": (
        state(lambda s: {**s, WEIGHT: s[WEIGHT].T}),
        f"state: {WEIGHT!r} must have shape (32, 128), found (128, 32)",
    ),
    "another type": (
        state(lambda s: {**s, WEIGHT: s[WEIGHT].double()}),
        f"state: {WEIGHT!r} must be torch.float32, found torch.float64",
    ),
    "no number": (
        number(f"state/{WEIGHT}", (0, 0), NAN),
        f"state: {WEIGHT!r} must be finite, found nan",
    ),
    "infinity": (
        number(f"state/{VARIANCE}", 0, torch.inf),
        f"state: {VARIANCE!r} must be finite, found",
    ),
    "scaled": (scaled(1e30), "must be within 1e+06, found"),
    "negative variance": (
        number(f"state/{VARIANCE}", 1, -0.5),
        f"{VARIANCE!r} must be at least 0, found -0.5",
    ),
    "negative counter": (
        number(f"state/{COUNTER}", (), -2),
        f"{COUNTER!r} must be at least 0, found -2",
    ),
    "sums without gram": (field(gram=torch.zeros(0)), "'gram' must have shape (136,), found (0,)"),
    "sums without counts": (
        field(counts=torch.zeros(0)),
        "'counts' must have shape (8,), found (0,)",
    ),
    "cross turned": (
        field(cross=torch.zeros(8, 16)),
        "'cross' must have shape (16, 8), found (8, 16)",
    ),
    "gram of doubles": (
        field(gram=torch.zeros(136).double()),
        "'gram' must be torch.float32, found",
    ),
    "gram no number": (number("gram", 5, NAN), "'gram' must be finite, found nan"),
    "gram negative": (number("gram", 0, -1.0), "gram: its diagonal must be at least 0, found -1"),
    "gram absurd": (number("gram", 0, 1e30), "gram: features must be within 1e+06, found 1e+30"),
    "gram of no vectors": (
        number("gram", 1, 1e6),
        "gram: no product may exceed its features' lengths, found one in row 0",
    ),
    "gram of no items": (
        lambda u: replace(u, gram=no_gram(u.gram, 16), cross=0 * u.cross),
        "gram, cross: must be sums of some items' features, found a negative eigenvalue",
    ),
    "cross of other items": (
        lambda u: replace(u, cross=u.cross * torch.tensor([1.0, -1.0]).repeat(8)[:, None]),
        "gram, cross: must be sums of some items' features, found a negative eigenvalue",
    ),
    "a number in the place of sums": (
        field(gram=torch.tensor(1.0)),
        "'gram' must have shape (136,), found ()",
    ),
    "a counter beyond int32": (
        number(f"state/{COUNTER}", (), 2**62),
        f"{COUNTER!r} must be within 2.14748e+09, found 4.61169e+18",
    ),
    "the least of counters": (
        number(f"state/{COUNTER}", (), -(2**63)),
        f"{COUNTER!r} must be within 2.14748e+09, found 9.22337e+18",
    ),
    "cross absurd": (
        number("cross", (0, 0), 1e30),
        "cross: must be within counts times 1e+06, found 1e+30",
    ),
    "cross beyond gram": (
        number("cross", (4, 2), 1e5),
        "cross: class means must be within the features' lengths",
    ),
    "cross of no items": (
        number("cross", (0, 1), 0.5),
        "cross: must be within counts times 1e+06, found 0.5",
    ),
    "half an item": (number("counts", 0, 0.5), "counts: must be whole numbers from 0, found 0.5"),
    "fewer than none": (
        number("counts", 0, -4.0),
        "counts: must be whole numbers from 0, found -4",
    ),
    "items of a class not seen": (
        lambda u: replace(u, counts=u.counts.roll(1)),
        "counts: must be 0 for classes not in seen, found items of class 1",
    ),
    "prototypes not asked for": (
        field(extra={"prototypes": torch.zeros(8, 33)}),
        "extra: must have 0 arrays, found one more: 'prototypes'",
    ),
    "adapter not asked for": (
        field(adapter={"head": torch.zeros(16, 8)}),
        "adapter: must have 0 arrays, found one more: 'head'",
    ),
    "sums of prototypes' shape": (
        field(counts=torch.zeros(8, 33)),
        "'counts' must have shape (8,), found (8, 33)",
    ),
}


def test_what_a_client_sends_is_taken_in(world: World, upload: Upload):
    assert upload.client == "client-1" and upload.seen == (0, 2) and upload.gram.shape == (136,)
    assert refusal(upload, expected(world)) is None
    later = expected(world, Step(1, 2))
    without = {name: torch.zeros(0) for name in ("gram", "cross", "counts")}
    assert refusal(replace(upload, round=2, **without), later) is None
    assert refusal(Upload("client-1", 1, 2, {}, (0, 2)), later) is None


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_not_as_it_must_be_is_refused_with_a_reason(
    case: str, world: World, upload: Upload
):
    change, said = HOSTILE[case]
    awaited = expected(world).of_step(FIRST, ["client-1"], {})
    reason = refusal(change(upload), awaited)
    assert reason is not None and said in reason
    assert reason.startswith(f"{change(upload).client!r}: ") and len(reason) < 200


def test_a_client_answers_once_in_a_step(world: World, upload: Upload):
    once = expected(world).without("client-1")
    assert (
        refusal(upload, once)
        == "'client-1': client: must send one upload in a step, found a second one"
    )
    assert refusal(upload, once.of_step(FIRST, world.models, {})) is None


def test_before_the_first_step_nothing_is_expected(world: World, upload: Upload):
    nobody = expectation(world.shared, world.models, {})
    reason = refusal(replace(upload, task=0, round=0), nobody)
    assert (
        reason
        == "'client-1': client: must be one of those asked in this step, found one that was not"
    )


def test_a_long_name_is_cut(world: World, upload: Upload):
    reason = refusal(replace(upload, client="e" * 10_000), expected(world))
    assert reason is not None and len(reason) < 100


@pytest.mark.parametrize("head", ["nearest-mean", "none", "analytic"])
def test_sums_come_only_where_the_head_is_made_from_them(head: str, upload: Upload):
    scope = "client" if head == "analytic" else "federation"
    awaited = expected(make_world(tiny_config(large={"head": head, "scope": scope})))
    assert refusal(upload, awaited) == "'client-1': 'gram' must have shape (0,), found (136,)"
    without = replace(upload, gram=torch.zeros(0))
    if head == "nearest-mean":
        assert refusal(without, awaited) is None
    else:
        assert (
            refusal(without, awaited) == "'client-1': 'cross' must have shape (0,), found (16, 8)"
        )


PROBE = {"head": "probe"}
ADAPTERS: dict[str, tuple[State, str]] = {
    "none": ({}, "adapter: 'head' must be there, found 0 arrays without it"),
    "turned": ({"head": torch.zeros(8, 16)}, "'head' must have shape (16, 8), found (8, 16)"),
    "more": ({"head": torch.zeros(16, 8), "lora": torch.zeros(1)}, "found one more: 'lora'"),
    "no number": ({"head": torch.full((16, 8), NAN)}, "adapter: 'head' must be finite, found nan"),
    "absurd": ({"head": torch.full((16, 8), -1e30)}, "'head' must be within 1e+06, found 1e+30"),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_what_clients_train_of_the_large_side_must_fit(case: str):
    world = make_world(tiny_config(large=PROBE))
    sent = play(world, [FIRST]).transport.uploads[0]
    assert refusal(sent, expected(world)) is None
    adapter, said = ADAPTERS[case]
    reason = refusal(replace(sent, adapter=adapter), expected(world))
    assert reason is not None and said in reason


def test_trained_prototypes_and_means_of_features_are_of_length_one_at_most():
    world = make_world(tiny_config(large={"head": "prototypes"}))
    sent, awaited = play(world, [FIRST]).transport.uploads[0], expected(world)
    assert refusal(sent, awaited) is None
    for name in ("head", "means"):
        longer = {**sent.adapter, name: 1.1 * sent.adapter["head"]}
        reason = refusal(replace(sent, adapter=longer), awaited)
        assert reason is not None and f"{name!r} must not be longer than 1, found 1.1" in reason


def test_what_a_task_added_to_a_base_comes_only_where_both_sides_know_of_it():
    named = {"learner": {"name": "fedweit"}, "fusion": {"name": "fedweit"}}
    world = make_world(tiny_config(**named))
    sent, awaited = play(world, [FIRST]).transport.uploads[0], expected(world)
    assert refusal(sent, awaited) is None
    name = "adaptive/projector.weight"
    without = replace(sent, state={k: v for k, v in sent.state.items() if k != name})
    reason = refusal(without, awaited)
    assert reason is not None and f"{name!r} must be there" in reason
    wider = replace(sent, state=sent.state | {name: sent.state[name][None]})
    reason = refusal(wider, awaited)
    assert reason is not None and f"{name!r} must have shape" in reason
    other = expected(make_world(tiny_config(**{**named, "fusion": {"name": "fedavg"}})))
    reason = refusal(sent, other)
    assert reason is not None and "found one more: 'adaptive/" in reason


def test_prototypes_are_sums_of_unit_vectors():
    world = make_world(tiny_config(fusion={"name": "fedproto"}))
    sent, awaited = play(world, [FIRST]).transport.uploads[0], expected(world)
    assert refusal(sent, awaited) is None
    cases = {
        ((0, 0), 1e3): "prototypes: must sum unit vectors, found a length of",
        ((0, -1), 0.5): "prototypes: must be whole numbers from 0, found 0.5",
        ((0, -1), 1.0): "prototypes: must add up to items",
        ((1, 0), 0.1): "prototypes: must sum unit vectors, found a length of",
    }
    for (place, value), said in cases.items():
        reason = refusal(copied(sent, "extra/prototypes", place, value), awaited)
        assert reason is not None and said in reason
    none = refusal(replace(sent, extra={"prototypes": torch.zeros(0)}), awaited)
    assert none == "'client-1': extra: 'prototypes' must have shape (8, 33), found (0,)"


@given(
    st.integers(1, 6),
    st.lists(st.integers(0, 2), min_size=1, max_size=30),
    st.integers(0, 10**6),
    st.floats(-18, 5),
)
def test_the_sums_of_any_items_are_taken_in(
    features: int, labels: list[int], seed: int, magnitude: float
):
    """Whatever the items are, rounding to float32 never makes their sums look forged."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((len(labels), features)) * 10.0 ** rng.uniform(-1, 1, features)
    z = np.clip(z * 10.0**magnitude, -1e6, 1e6).astype(np.float32)
    z[rng.random(z.shape) < 0.3] = 0.0
    sums = packed(SufficientStatistics.of(z, np.eye(3)[labels]))
    empty = {name: torch.empty(0) for name in ("gram", "cross", "counts")}
    awaited = Expected({"a": {}}, 3, {**empty, **sums}, {}, complete=True, of_head=SUMMED)
    upload = Upload("a", 1, 1, {}, tuple(sorted(set(labels))), **sums, num_examples=len(labels))
    assert refusal(upload, awaited.of_step(FIRST, ["a"], {})) is None


@settings(max_examples=200)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_sums_of_any_items_can_be_of_items(seed: int, features: int, rank: int, count: int):
    """Whatever the rank, the scales of features and the numbers of items of a class."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, rank)) @ rng.standard_normal((rank, features))
    z = z * 10.0 ** rng.uniform(-8, 5, features) * 10.0 ** rng.uniform(-12, 3)
    z = np.clip(np.maximum(z, 0) if seed % 2 else z, -1e6, 1e6).astype(np.float32)
    z[: count // 2] = z[0]  # a class of equal items leaves nothing within it
    targets = np.eye(4)[rng.integers(0, 4, count)]
    assert possible(packed(SufficientStatistics.of(z, targets)))
    with np.errstate(over="ignore"):
        single = SufficientStatistics(z.T @ z, z.T @ targets.astype(np.float32), targets.sum(0))
    assert not np.isfinite(single.gram).all() or possible(packed(single))


def test_sums_of_wide_features_of_few_items_can_be_of_items():
    z = np.maximum(np.random.default_rng(0).standard_normal((3, 700)), 0).astype(np.float32)
    z *= np.geomspace(1e-6, 1e4, 700, dtype=np.float32)
    sums = packed(SufficientStatistics.of(z, np.eye(2)[[0, 0, 1]]))
    assert possible(sums)
    assert not possible(sums | {"gram": no_gram(sums["gram"], 700)})


@pytest.mark.parametrize("below", [0.0, 1e-9, 1e-2, 1.0])
def test_how_far_an_eigenvalue_may_be_below_zero(below: float):
    """By hand: 4 features, G = diag(1, 1, 1, -below) but for its diagonal's sign, no items left."""
    turned = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    gram = turned @ np.diag([1.0, 1.0, 1.0, -below]) @ turned.T
    assert np.linalg.eigvalsh(gram)[0] == pytest.approx(-below)
    assert possible(packed(SufficientStatistics(gram, np.zeros((4, 1)), np.ones(1)))) == (
        below < 1e-3 / 4
    )


def test_sums_of_several_tasks_are_of_more_items_than_the_last_one_has():
    sums = packed(SufficientStatistics.of(np.ones((9, 2), np.float32), np.eye(2)[[0] * 9]))
    upload = Upload("a", 1, 1, {}, (0, 1), **sums, num_examples=5, client_task=3)
    awaited = Expected({"a": {}}, 2, sums, {}, complete=True, of_head=SUMMED)
    assert refusal(upload, awaited.of_step(FIRST, ["a"], {"a": 1})) is None
    said = refusal(upload, awaited.of_step(FIRST, ["a"], {"a": 2}))
    assert said == "'a': counts: must add up to items, 5, found 9"


def test_sums_that_are_held_back_need_not_add_up():
    sums = packed(SufficientStatistics.of(np.ones((4, 2), np.float32), np.eye(2)[[0, 0, 0, 0]]))
    upload = Upload("a", 1, 1, {}, (0, 1), **sums, num_examples=5)
    for complete, taken in ((True, False), (False, True)):
        awaited = Expected({"a": {}}, 2, sums, {}, complete, of_head=SUMMED)
        awaited = awaited.of_step(FIRST, ["a"], {})
        assert (refusal(upload, awaited) is None) == taken
