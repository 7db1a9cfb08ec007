import dataclasses
import json
import pickle
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from fedbridge.errors import UserError
from fedbridge.wire import (
    KINDS,
    UPLOAD_FIELDS,
    Broadcast,
    Evaluation,
    Message,
    State,
    Upload,
    decode,
    encode,
)
from worlds import Played

DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.uint8, torch.bool,
)  # fmt: skip

texts = st.text(max_size=12)
numbers = st.integers(0, 2**40)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def tensors(draw: st.DrawFn, dtypes: tuple[torch.dtype, ...] = DTYPES) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(draw(numbers)))
    return (4 * values).to(draw(st.sampled_from(dtypes)))


states = st.dictionaries(keys, tensors(), max_size=4)
floats = tensors((torch.float32,))
seen = st.lists(numbers, max_size=5).map(tuple)
rows = st.lists(st.tuples(numbers, texts, texts, numbers, numbers), max_size=4).map(tuple)
broadcasts = st.builds(Broadcast, numbers, numbers, states, states, states)
uploads = st.builds(
    Upload, texts, numbers, numbers, states, seen, floats, floats, floats, floats, states, numbers
)  # fmt: skip
evaluations = st.builds(Evaluation, texts, numbers, rows)
messages = st.one_of(broadcasts, uploads, evaluations)


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    return type(one) is type(other) and one == other


def packed(scalars: Any, **arrays: Tensor) -> bytes:
    """Return a buffer as ``encode`` writes it, with anything in it."""
    text = scalars if isinstance(scalars, bytes) else json.dumps(scalars).encode()
    return save({"scalars": torch.frombuffer(bytearray(text), dtype=torch.uint8), **arrays})


def upload(**changes: Any) -> Upload:
    state = {"weight": torch.arange(6.0).reshape(2, 3), "norm.count": torch.tensor(3)}
    sums = {"gram": torch.ones(3), "cross": torch.ones(2, 3), "counts": torch.ones(3)}
    fields = {"client": "a", "task": 1, "round": 2, "state": state, "seen": (0, 2)}
    return Upload(**{**fields, **sums, **changes})


@given(messages)
def test_every_message_comes_back_as_it_was(message: Message):
    arrived = decode(encode(message), type(message).__name__)
    assert type(arrived) is type(message)
    for name, value in vars(message).items():
        assert alike(value, getattr(arrived, name)), name


@given(messages)
def test_equal_messages_have_equal_bytes(message: Message):
    assert encode(message) == encode(dataclasses.replace(message))


def test_messages_keep_what_is_empty():
    empty = Broadcast(1, 1)
    arrived = decode(encode(empty), "Broadcast")
    assert arrived.state == arrived.adapter == arrived.shared == {}
    assert decode(encode(upload(state={}, seen=())), "Upload").seen == ()


def test_arrays_may_be_views_of_others():
    table = torch.arange(12.0).reshape(3, 4)
    message = Broadcast(1, 1, {"turned": table.T, "row": table[1]}, {"half": table[:, ::2]})
    arrived = decode(encode(message), "Broadcast")
    assert torch.equal(arrived.state["turned"], table.T)
    assert torch.equal(arrived.state["row"], table[1])
    assert torch.equal(arrived.adapter["half"], table[:, ::2])


def test_a_state_keeps_names_that_look_like_fields():
    state: State = {key: torch.ones(1) for key in ("gram", "scalars", "state", "a/b", "seen")}
    assert decode(encode(upload(state=state)), "Upload").state.keys() == state.keys()


# the privacy boundary


def test_what_may_leave_a_client_is_exactly_this():
    allowed = {"client", "task", "round", "state", "seen", "gram", "cross", "counts"}
    allowed |= {"items", "prototypes", "adapter"}
    assert allowed == UPLOAD_FIELDS
    assert {field.name for field in dataclasses.fields(Upload)} == allowed


def test_what_a_client_tells_of_its_evaluation_is_exactly_this():
    fields = {field.name for field in dataclasses.fields(Evaluation)}
    assert fields == {"client", "after_task", "rows"}


def test_there_are_no_other_messages():
    assert set(KINDS) == {"Broadcast", "Upload", "Evaluation"}


def test_the_bytes_of_an_upload_hold_its_fields_and_nothing_else():
    arrays = load(encode(upload()))
    scalars = json.loads(bytes(arrays.pop("scalars").numpy()))
    named = {name for name in arrays if not name.startswith(("state/", "adapter/"))}
    assert scalars.keys() | named == (UPLOAD_FIELDS - {"state", "adapter"}) | {"kind"}


def test_an_upload_with_more_in_it_is_refused():
    @dataclass(frozen=True)
    class Leaky(Upload):
        inputs: Tensor = dataclasses.field(default_factory=lambda: torch.ones(4))

    leaky = Leaky(**vars(upload()))
    with pytest.raises(UserError, match="expected Upload, found Leaky"):
        decode(encode(leaky), "Upload")
    disguised = packed({"kind": "Upload", "client": "a"}, inputs=torch.ones(4))
    with pytest.raises(UserError, match="Upload has no field 'inputs'"):
        decode(disguised, "Upload")
    with pytest.raises(UserError, match="Upload has no field 'labels'"):
        decode(packed({"kind": "Upload", "labels": [1, 2]}), "Upload")
    with pytest.raises(UserError, match="Upload has no field 'inputs/0'"):
        decode(packed({"kind": "Upload"}, **{"inputs/0": torch.ones(4)}), "Upload")


def test_what_really_leaves_a_client_has_no_room_for_its_items(finished: Played):
    commons = finished.world.commons
    size, classes = commons.lift.dimension, len(commons.classes)
    for sent in finished.transport.uploads:
        names = commons.small_model("mlp", sent.client).state_dict()
        first = sent.round == 1
        assert {k: v.shape for k, v in sent.state.items()} == {k: v.shape for k, v in names.items()}
        assert sent.gram.shape == (size * (size + 1) // 2 if first else 0,)
        assert sent.cross.shape == ((size, classes) if first else (0,))
        assert sent.counts.shape == (classes if first else 0,)
        assert not sent.adapter and not len(sent.prototypes)


# what is refused


REFUSED = {
    "nothing": b"",
    "rubbish": b"rubbish",
    "pickle": pickle.dumps(vars(upload())),
    "pickle in text": pickle.dumps({"scalars": b"{}"}, protocol=0),
    "cut at the end": encode(upload())[:-1],
    "cut in the header": encode(upload())[:20],
    "too long": encode(upload()) + b"\0",
    "a header of absurd length": b"\xff" * 100,
    "no scalars": save({"weight": torch.ones(1)}),
    "empty scalars": save({"scalars": torch.zeros(0, dtype=torch.uint8)}),
    "no text": packed(b"\xff\xfe"),
    "no JSON": packed(b"{"),
    "JSON too deep": packed(b"[" * 100_000),
    "a list": packed(["kind"]),
    "a string": packed("kind"),
    "null": packed(None),
    "no kind": packed({}),
    "a list of kinds": packed({"kind": ["Upload"]}),
    "an object as kind": packed({"kind": {}}),
    "no fields": packed({"kind": "Upload"}),
    "float scalars": save({"scalars": torch.zeros(2)}),
    "bfloat16 scalars": save({"scalars": torch.zeros(2, dtype=torch.bfloat16)}),
    "a single scalar": save({"scalars": torch.tensor(1, dtype=torch.uint8)}),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_upload_is_refused(data: bytes):
    with pytest.raises(UserError, match="message"):
        decode(data, "Upload")


@given(messages, st.sampled_from(sorted(KINDS)))
def test_another_kind_is_refused(message: Message, kind: str):
    if kind != type(message).__name__:
        with pytest.raises(UserError, match=f"expected {kind}, found {type(message).__name__}"):
            decode(encode(message), kind)


@pytest.mark.parametrize("field", sorted(UPLOAD_FIELDS))
@pytest.mark.parametrize("value", ["x", 1.5, True, [["x"]], None, {"a": 1}, -1])
def test_a_field_of_another_type_is_refused(field: str, value: Any):
    if field == "client" and value == "x":
        return
    arrays = load(encode(upload()))
    scalars = json.loads(bytes(arrays.pop("scalars").numpy()))
    arrays.pop(field, None)
    with pytest.raises(UserError, match="message"):
        decode(packed(scalars | {field: value}, **arrays), "Upload")


@pytest.mark.parametrize("field", ["client", "task", "round", "seen"])
def test_an_array_in_the_place_of_a_scalar_is_refused(field: str):
    arrays = load(encode(upload()))
    scalars = json.loads(bytes(arrays.pop("scalars").numpy()))
    scalars.pop(field)
    with pytest.raises(UserError, match="message"):
        decode(packed(scalars, **arrays, **{field: torch.ones(1)}), "Upload")


@pytest.mark.parametrize("found", [3, "x", [3], [[1, "small", "task-aware", 1]], [[1, 2, 3, 4, 5]]])
def test_evaluations_with_other_rows_are_refused(found: Any):
    scalars = {"kind": "Evaluation", "client": "a", "after_task": 1, "rows": found}
    with pytest.raises(UserError, match="message"):
        decode(packed(scalars), "Evaluation")


def survives(data: bytes, kind: str) -> None:
    try:
        message = decode(data, kind)
    except UserError:
        return
    assert type(message).__name__ == kind


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from(sorted(KINDS)))
def test_rubbish_is_never_more_than_a_users_error(data: bytes, kind: str):
    survives(data, kind)


@settings(max_examples=300)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=3), st.integers(0, 3))
@example(8, b"[", 1)
def test_damaged_messages_are_never_more_than_a_users_error(place: int, new: bytes, cut: int):
    whole = encode(upload())
    place %= len(whole)
    survives(whole[:place] + new + whole[place + cut :], "Upload")
    survives(whole[:place], "Upload")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from([*sorted(UPLOAD_FIELDS), "shared", "rows", "after_task", "kind"])


@settings(max_examples=200)
@given(
    st.dictionaries(fields, json_values, max_size=9),
    st.dictionaries(st.one_of(fields, keys), tensors(), max_size=3),
    st.sampled_from(sorted(KINDS)),
)
def test_forged_messages_are_never_more_than_a_users_error(
    scalars: dict[str, Any], arrays: State, kind: str
):
    survives(packed({"kind": kind, **scalars}, **arrays), kind)
    if "scalars" in arrays:
        survives(save(arrays), kind)


@given(tensors())
def test_scalars_of_any_shape_and_type_are_never_more_than_a_users_error(table: Tensor):
    survives(save({"scalars": table}), "Upload")
