"""ONNX graphs that want one type, one batch or one length give what a free graph gives."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from brought import noise, saved, tokenizer
from fedbridge.core.errors import UserError
from fedbridge.models.fm.foundation import load_foundation
from fedbridge.models.fm.proof import prove
from tiny_transformers import WORDS

ITEMS = np.random.default_rng(0).integers(0, 256, (33, 3, 8, 8)).astype(np.uint8)
TEXTS = ["red apple", "green pear green red pear", "", "apple"] * 8 + ["pear " * 90]
PLACES = 64


def load(spec):
    return load_foundation(spec, 8, torch.device("cpu"), "float32")


def picture_graph(path: Path, kind: int = TensorProto.FLOAT, batch: int | str = "n") -> str:
    """Save a graph that casts its pictures to float32 and convolves them, 3 to 5 channels."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["f", "w"], ["y"]),
        ],
        "pictures",
        [helper.make_tensor_value_info("x", kind, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 5, 8, 8])],
        [numpy_helper.from_array(noise(5, 3, 1, 1), "w")],
    )
    return saved(graph, path)


def text_graph(
    path: Path,
    kind: int = TensorProto.INT64,
    shape: tuple[int | str, int | str] = ("n", "l"),
    names: tuple[str, ...] = ("input_ids", "attention_mask"),
    out: int = TensorProto.FLOAT,
) -> str:
    """Save a graph of 64 places: what stands for a word, plus what stands for its place.

    Without a mask every state is moved by their sum, as attention to padding would move it.
    """
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Shape", ["ids"], ["size"]),
        helper.make_node("Gather", ["size", "second"], ["length"]),
        helper.make_node("Range", ["nought", "length", "step"], ["order"]),
        helper.make_node("Gather", ["places", "order"], ["where"]),
        helper.make_node("Add", ["words", "where"], ["states"]),
        helper.make_node("ReduceSum", ["states", "axis"], ["sum"], keepdims=1),
        helper.make_node("Add", ["states", "sum"], ["moved"]),
        helper.make_node("Cast", ["states" if len(names) > 1 else "moved"], ["y"], to=out),
    ]
    numbers = {"second": 1, "nought": 0, "step": 1}
    graph = helper.make_graph(
        nodes,
        "texts",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name in names],
        [helper.make_tensor_value_info("y", out, [shape[0], shape[1], 6])],
        [
            numpy_helper.from_array(noise(len(WORDS), 6), "table"),
            numpy_helper.from_array(noise(PLACES, 6), "places"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
            *(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in numbers.items()),
        ],
    )
    tokenizer().save(str(path.parent / "tokenizer.json"))
    return saved(graph, path)


@pytest.mark.parametrize("batch", ["n", 1, 8])
@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE", "FLOAT16"])
def test_pictures_are_given_in_the_type_and_the_batch_that_is_asked_for(tmp_path, kind, batch):
    free = load(picture_graph(tmp_path / "free.onnx")).encode(ITEMS)
    found = load(picture_graph(tmp_path / "a.onnx", getattr(TensorProto, kind), batch))
    atol = 2e-3 if kind == "FLOAT16" else 1e-5
    torch.testing.assert_close(found.encode(ITEMS), free, atol=atol, rtol=0)
    torch.testing.assert_close(found.encode(ITEMS[:1]), free[:1], atol=atol, rtol=0)


def test_whole_numbers_are_pixels_from_0_to_255(tmp_path):
    free = load(picture_graph(tmp_path / "free.onnx")).encode(ITEMS)
    for kind in (TensorProto.UINT8, TensorProto.INT32):
        found = load(picture_graph(tmp_path / "a.onnx", kind)).encode(ITEMS)
        torch.testing.assert_close(found / 255, free, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["INT32", "INT64", "FLOAT", "DOUBLE", "UINT8"])
@pytest.mark.parametrize("batch", ["n", 1, 8])
def test_texts_are_given_in_the_type_and_the_batch_that_is_asked_for(tmp_path, kind, batch):
    free = load(text_graph(tmp_path / "free.onnx")).encode(TEXTS)
    spec = text_graph(tmp_path / "a.onnx", getattr(TensorProto, kind), (batch, "l"))
    torch.testing.assert_close(load(spec).encode(TEXTS), free, atol=1e-5, rtol=0)


def test_the_mean_is_over_a_texts_own_tokens_up_to_the_last_place(tmp_path):
    found = load(text_graph(tmp_path / "a.onnx")).encode(["red pear", "pear " * 90])
    words, places = noise(len(WORDS), 6), noise(PLACES, 6)
    red, pear = words[WORDS.index("red")], words[WORDS.index("pear")]
    np.testing.assert_allclose(found[0], (red + pear + places[:2].sum(0)) / 2, atol=1e-5)
    np.testing.assert_allclose(found[1], pear + places.mean(0), atol=1e-5)


def test_a_text_of_a_fixed_length_is_cut_off_or_filled_up(tmp_path):
    free = load(text_graph(tmp_path / "free.onnx"))
    fixed = load(text_graph(tmp_path / "a.onnx", shape=(1, 4)))
    short = ["red apple", "", "pear pear pear pear"]
    torch.testing.assert_close(fixed.encode(short), free.encode(short), atol=1e-5, rtol=0)
    torch.testing.assert_close(fixed.encode(["red " * 9]), free.encode(["red " * 4]))


@pytest.mark.parametrize("shape", [("n", "l"), (1, "l"), (8, "l")])
def test_without_a_mask_a_text_is_the_same_in_any_batch(tmp_path, shape):
    fm = load(text_graph(tmp_path / "a.onnx", shape=shape, names=("input_ids",)))
    together = fm.encode(TEXTS)
    for text, found in zip(TEXTS[:3], together[:3], strict=True):
        torch.testing.assert_close(fm.encode([text])[0], found, atol=1e-5, rtol=1e-5)


def test_half_precision_may_come_out_as_well(tmp_path):
    free = load(text_graph(tmp_path / "free.onnx")).encode(TEXTS)
    half = load(text_graph(tmp_path / "a.onnx", out=TensorProto.FLOAT16)).encode(TEXTS)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, free, atol=3e-3, rtol=0)


def test_a_real_graph_passes_the_trial(tmp_path):
    spec = text_graph(tmp_path / "a.onnx", TensorProto.INT32, (8, "l"))
    prove(load(spec), TEXTS, 16, str)
    prove(load(picture_graph(tmp_path / "b.onnx", batch=8)), ITEMS, 16, str)


@pytest.mark.parametrize(
    ("out", "rule"),
    [
        (TensorProto.INT64, "first output, 'y', must be of floating point numbers, found int64"),
        (TensorProto.STRING, "first output, 'y', must be of floating point numbers, found object"),
    ],
)
def test_what_comes_out_must_be_numbers(tmp_path, out, rule):
    with pytest.raises(UserError, match=rf"a\.onnx: its {rule}"):
        load(text_graph(tmp_path / "a.onnx", out=out))


def test_inputs_that_cannot_be_given_are_named(tmp_path):
    spec = text_graph(tmp_path / "a.onnx", shape=("n", 4))
    model = onnx.load(tmp_path / "a.onnx")
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 5
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(UserError, match=r"its inputs must be of equal lengths, found \[4, 5\]"):
        load(spec)
    spec = picture_graph(tmp_path / "b.onnx", TensorProto.BOOL)
    assert load(spec).encode(ITEMS).shape == (33, 5)
    spec = picture_graph(tmp_path / "c.onnx")
    model = onnx.load(tmp_path / "c.onnx")
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    onnx.save(model, tmp_path / "c.onnx")
    with pytest.raises(UserError, match="must read pictures alone, found an input 'z'"):
        load(spec)


def test_a_graph_that_reads_no_token_is_refused_and_no_text_is_cut_to_one():
    from tokenizers import Tokenizer, models

    from fedbridge.models.fm.onnx import READ, _Reader

    class Broken:
        name = "onnx:broken.onnx"
        inputs = dict.fromkeys(READ[:2])

        def fixed(self, axis: int) -> None:
            return None

        def __call__(self, given: object) -> None:
            raise RuntimeError("no kernel for this")

    words = Tokenizer(models.WordLevel({"probe": 0}, unk_token="probe"))
    with pytest.raises(UserError, match="no kernel for this"):
        _Reader(Broken(), words)
