"""ONNX graphs of texts: their tokenizer, their mean over tokens, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from brought import noise, save_graph, save_text_graph
from fedbridge.core.errors import UserError
from fedbridge.models.fm.foundation import load_foundation
from tiny_transformers import WORDS

CPU = torch.device("cpu")
TABLE = noise(len(WORDS), 6)


def load(spec, size="auto"):
    return load_foundation(spec, size, CPU, "float32")


def test_states_are_averaged_over_a_texts_own_tokens(tmp_path: Path):
    fm = load(save_text_graph(tmp_path / "t.onnx"))
    red, apple = TABLE[WORDS.index("red")], TABLE[WORDS.index("apple")]
    expected = np.stack([(red + apple) / 2, apple, 0 * apple])
    np.testing.assert_allclose(fm.encode(["Red apple", "apple", ""]), expected, atol=1e-6)
    assert (fm.modality, fm.dimension) == ("text", 6)


def test_a_graph_that_has_pooled_itself_is_left_alone(tmp_path: Path):
    fm = load(save_text_graph(tmp_path / "t.onnx", pooled=True))
    expected = np.maximum(TABLE[WORDS.index("green")], TABLE[WORDS.index("pear")])
    np.testing.assert_allclose(fm.encode(["green pear"])[0], expected, atol=1e-6)


def test_the_tokenizer_may_lie_one_folder_above_and_is_part_of_the_fingerprint(tmp_path: Path):
    spec = save_text_graph(tmp_path / "onnx" / "t.onnx")
    before = load(spec).fingerprint
    (tmp_path / "onnx" / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    assert load(spec).fingerprint == before
    text = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text.replace("apple", "melon"))
    assert load(spec).fingerprint != before


def test_what_a_graph_of_texts_lacks_is_told(tmp_path: Path):
    spec = save_text_graph(tmp_path / "t.onnx", inputs=("input_ids", "pixel_values"))
    with pytest.raises(UserError, match=r"must read nothing but input_ids, .*found 'pixel_values'"):
        load(spec)
    spec = save_text_graph(tmp_path / "u.onnx")
    (tmp_path / "tokenizer.json").write_text("{ damaged")
    with pytest.raises(UserError, match=r"u\.onnx cannot be used: "):
        load(spec)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json must lie beside it, found none in /"):
        load(spec)


def test_a_graph_of_fixed_size_is_given_pictures_of_that_size(tmp_path: Path):
    assert load(save_graph(tmp_path / "fixed.onnx", 48)).size == 48
    assert load(save_graph(tmp_path / "free.onnx")).size == 96
    assert load(f"onnx:{tmp_path / 'free.onnx'}", 40).size == 40
