import dataclasses
import json
import pickle
import struct
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.wire import (
    KINDS,
    MOST_WORDS,
    UPLOAD_FIELDS,
    Broadcast,
    Evaluation,
    Hello,
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
    Upload, texts, numbers, numbers, states, seen, floats, floats, floats, states, states, numbers
)  # fmt: skip
choices = st.just(()) | st.builds(
    lambda task, percent, n, own, taken: (task, percent, min(own, n), min(taken, n), n),
    numbers, st.integers(0, 100), numbers, numbers, numbers,
)  # fmt: skip
evaluations = st.builds(Evaluation, texts, numbers, rows, choices)
hellos = st.builds(Hello, texts, numbers, *[texts] * 9)
messages = st.one_of(broadcasts, uploads, evaluations, hellos)


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
    allowed |= {"num_examples", "client_task", "extra", "adapter", "diverged"}
    assert allowed == UPLOAD_FIELDS
    assert {field.name for field in dataclasses.fields(Upload)} == allowed


def test_what_a_client_tells_of_its_evaluation_is_exactly_this():
    fields = {field.name for field in dataclasses.fields(Evaluation)}
    assert fields == {"client", "after_task", "rows", "accepted", "unsolved"}


@pytest.mark.parametrize(
    "found",
    [
        "x", [1], [1, 50, 3, 3], [1, 50, 3, 3, 4, 4], [1, 0.5, 3, 3, 4], [1, 50, -1, 3, 4],
        [1, 101, 3, 3, 4], [1, 50, 5, 3, 4], [1, 50, 3, 5, 4],
    ],
)  # fmt: skip
def test_what_a_client_says_it_took_is_five_counts_that_fit_each_other(found: Any):
    scalars = {"kind": "Evaluation", "client": "a", "after_task": 1, "rows": []}
    for percent in (0, 50, 100):
        assert decode(packed(scalars | {"accepted": [1, percent, 3, 4, 4]}), "Evaluation")
    assert decode(packed(scalars | {"accepted": []}), "Evaluation")
    with pytest.raises(UserError, match="accepted"):
        decode(packed(scalars | {"accepted": found}), "Evaluation")


def test_a_hello_holds_words_and_one_number_and_no_array():
    kinds = {name: field.type for name, field in Hello.__dataclass_fields__.items()}
    assert kinds.pop("protocol") is int
    assert set(kinds) == {
        "client", "fedbridge", "torch", "python", "foundation", "fingerprint", "classes",
        "anchors", "public", "config",
    }  # fmt: skip
    assert set(kinds.values()) == {str}


@pytest.mark.parametrize("field", sorted(Hello.__dataclass_fields__))
def test_a_hello_with_a_field_of_another_type_is_refused(field: str):
    scalars = {name: "x" for name in Hello.__dataclass_fields__} | {"protocol": 1, "kind": "Hello"}
    assert isinstance(decode(packed(scalars), "Hello"), Hello)
    with pytest.raises(UserError, match=field):
        decode(packed(scalars | {field: [1]}), "Hello")


def test_there_are_no_other_messages():
    assert set(KINDS) == {"Broadcast", "Upload", "Evaluation", "Hello"}


def test_the_bytes_of_an_upload_hold_its_fields_and_nothing_else():
    arrays = load(encode(upload()))
    scalars = json.loads(bytes(arrays.pop("scalars").numpy()))
    states = {"state", "adapter", "extra"}
    named = {name for name in arrays if name.partition("/")[0] not in states}
    assert scalars.keys() | named == (UPLOAD_FIELDS - states) | {"kind"}


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
    shared = finished.world.shared
    size, classes = shared.lift.dimension, len(shared.classes)
    for sent in finished.transport.uploads:
        names = shared.small_model("mlp", sent.client).state_dict()
        first = sent.round == 1
        assert {k: v.shape for k, v in sent.state.items()} == {k: v.shape for k, v in names.items()}
        assert sent.gram.shape == (size * (size + 1) // 2 if first else 0,)
        assert sent.cross.shape == ((size, classes) if first else (0,))
        assert sent.counts.shape == (classes if first else 0,)
        assert not sent.adapter and not sent.extra


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


ODD = {
    "lists in lists": b'"seen": ' + b"[" * 990 + b"]" * 990,
    "objects in objects": b'"seen": ' + b'{"a":' * 990 + b"1" + b"}" * 990,
    "a number without end": b'"task": ' + b"9" * 5000,
    "a number beyond int64": b'"task": 9223372036854775808',
    "a count that floats do not hold": b'"task": 9007199254740993',
    "no number": b'"task": NaN',
    "infinity": b'"seen": [Infinity]',
    "a count with a point": b'"task": 1.0',
    "true for one": b'"seen": [true]',
    "less than nothing": b'"seen": [-1]',
    "half a surrogate": b'"client": "\\ud800"',
    "bytes that are no letters": b'"client": "\xff"',
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_scalars_that_nobody_should_send_are_refused(odd: bytes):
    arrays = load(encode(upload()))
    whole = bytes(arrays.pop("scalars").numpy())
    with pytest.raises(UserError, match="message: "):
        decode(packed(whole[:-1] + b", " + odd + b"}", **arrays), "Upload")


@pytest.mark.parametrize("kind", [torch.complex64, torch.float8_e4m3fn, torch.uint16])
def test_arrays_of_types_that_nothing_here_computes_with_are_refused(kind: torch.dtype):
    sent = upload(state={"weight": torch.zeros(2).to(kind)})
    with pytest.raises(UserError, match=f"'state/weight' must not be of {kind}"):
        decode(encode(sent), "Upload")


def test_the_words_of_another_side_come_clean_out_of_a_refusal():
    with pytest.raises(UserError) as error:
        decode(packed({"kind": "\x1b]0;x\x07\u202e\u200b"}), "Upload")
    assert str(error.value) == "message: expected Upload, found ?]0;x???"


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


# what is too large is not even read


def test_more_bytes_than_allowed_are_refused():
    data = encode(upload())
    assert decode(data, "Upload", most=len(data))
    with pytest.raises(UserError, match=f"message must have at most {len(data) - 1} bytes, found"):
        decode(data, "Upload", most=len(data) - 1)


def forged(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a buffer as safetensors has it: the header's length, the header, the data."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def test_a_header_may_be_as_long_as_names_need_and_no_longer():
    header = json.dumps({"a" * 100: {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}})
    for spare, said in ((0, "KeyError|scalars"), (1, "its header must have at most")):
        padded = header.ljust(MOST_WORDS + spare).encode()
        with pytest.raises(UserError, match=said):
            decode(forged(padded), "Upload")
    with pytest.raises(UserError, match="not a readable Upload"):
        decode(forged(b"{}", length=2**63), "Upload")


def test_scalars_may_be_as_long_as_words_need_and_no_longer():
    text = json.dumps({"kind": "Evaluation", "client": "a", "after_task": 1, "rows": []})
    assert decode(packed(text.ljust(MOST_WORDS).encode()), "Evaluation")
    with pytest.raises(UserError, match=f"scalars must have at most {MOST_WORDS} bytes, found"):
        decode(packed(text.ljust(MOST_WORDS + 1).encode()), "Evaluation")


def test_errors_do_not_repeat_all_that_they_complain_about():
    long = "x" * 10_000
    for data in (packed({"kind": long}), packed({"kind": "Upload", long: 1})):
        with pytest.raises(UserError) as error:
            decode(data, "Upload")
        assert len(str(error.value)) < 200
    with pytest.raises(UserError) as error:
        decode(packed({"kind": "Upload", "task": long}), "Upload")
    assert len(str(error.value)) < 200


sizes = st.one_of(st.integers(0, 4), st.sampled_from([-1, 2**31, 2**40, 2**62, 2**63, 2**64]))
headers = st.dictionaries(
    st.sampled_from(["scalars", "gram", "state/a", "x", "__metadata__"]),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["U8", "F32", "F64", "I64", "BOOL", "C64", "F8_E4M3", "F4"]),
            "shape": st.lists(sizes, max_size=4),
            "data_offsets": st.tuples(sizes, sizes),
        }
    ),
    max_size=4,
)


@settings(max_examples=300)
@given(headers, st.binary(max_size=40), st.integers(-9, 9), st.sampled_from(sorted(KINDS)))
@example(
    {"x": {"dtype": "U8", "shape": [0, 2**62, 2**62], "data_offsets": (0, 0)}}, b"", 0, "Upload"
)
@example({"x": {"dtype": "U8", "shape": [2**40], "data_offsets": (0, 2**40)}}, b"", 0, "Upload")
@example({"x": {"dtype": "U8", "shape": [2], "data_offsets": (0, 2)}}, b"{", 0, "Upload")
def test_headers_that_promise_too_much_are_never_more_than_a_users_error(
    header: dict[str, Any], data: bytes, longer: int, kind: str
):
    text = json.dumps(header).encode()
    tracemalloc.start()
    survives(forged(text, data, max(0, len(text) + longer)), kind)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_arrays_that_overlap_are_refused():
    places = {"gram": (0, 8), "cross": (4, 12)}
    header = {k: {"dtype": "F32", "shape": [2], "data_offsets": p} for k, p in places.items()}
    with pytest.raises(UserError, match="not a readable Upload"):
        decode(forged(json.dumps(header).encode(), bytes(12)), "Upload")


@settings(max_examples=300)
@given(messages, st.data())
def test_flipped_bits_are_never_more_than_a_users_error(message: Message, data: st.DataObject):
    whole = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(whole)))
    kind = type(message).__name__
    survives(bytes(whole), kind)
    survives(bytes(whole[:cut]), kind)


def survives(data: bytes, kind: str) -> None:
    try:
        message = decode(data, kind)
    except UserError:
        return
    assert type(message).__name__ == kind
    parts = [part if isinstance(part, dict) else {"": part} for part in vars(message).values()]
    arrays = [array for part in parts for array in part.values() if isinstance(array, Tensor)]
    assert sum(array.nbytes for array in arrays) <= len(data)  # no more than what came


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


@given(broadcasts)
def test_arrays_of_a_message_lie_as_those_that_were_computed(message: Broadcast) -> None:
    """Their places among the bytes depend on the length of the names before them."""
    found = decode(encode(message), "Broadcast")
    assert isinstance(found, Broadcast)
    arrays = [*found.state.values(), *found.adapter.values(), *found.shared.values()]
    assert all(array.data_ptr() % 64 == 0 and array.is_contiguous() for array in arrays)
