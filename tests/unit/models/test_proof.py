"""A foundation model is tried on the data's own items, which errors name."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.models.fm.foundation import Items, load_foundation
from fedbridge.models.fm.proof import FEW, prove
from tiny_transformers import save_bert

ROWS = [f"a: {number}.5, b: {number % 7}" for number in range(100)]
PICTURES = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8)).astype(np.uint8)


class Recorder:
    """An FM that notes the batches that it is given."""

    name, dimension, fingerprint = "recorder", 2, "f"

    def __init__(self, modality: str = "any", fault: object = None) -> None:
        self.modality = modality
        self.fault = fault
        self.given: list[Items] = []

    def encode(self, items: Items) -> Tensor:
        self.given.append(items)
        if callable(self.fault):
            return torch.as_tensor(self.fault(items))
        return torch.ones(len(items), 2)


def place(row: int) -> str:
    return f"number {row}"


def refused(fault, items=ROWS) -> str:
    with pytest.raises(UserError) as caught:
        prove(Recorder(fault=fault), items, 16, place)
    return str(caught.value)


def test_real_items_are_tried_in_batches_one_alone_and_the_longest():
    fm = Recorder()
    items = [*ROWS, "a: 1000000.5, b: 1"]
    prove(fm, items, 16, place)
    assert [len(batch) for batch in fm.given] == [16, 16, 1, 1, 1]
    tried = [text for batch in fm.given for text in batch]
    assert set(tried) <= set(items)
    assert len(set(tried[:FEW])) == FEW and tried[0] == items[0] and tried[FEW - 1] == items[-1]
    assert fm.given[-1] == [items[-1]]


def test_an_fm_of_texts_gets_a_long_one_of_the_datas_own_words():
    fm = Recorder("text")
    prove(fm, ["red sea", "apple"], 16, place)
    assert len(fm.given[-1][0].split()) == 300
    assert set(fm.given[-1][0].split()) == {"red", "sea", "apple"}


def test_of_few_items_all_are_tried():
    fm = Recorder()
    prove(fm, PICTURES[:3], 16, place)
    assert [len(batch) for batch in fm.given] == [3, 1]


def test_what_goes_wrong_is_told_with_the_items():
    def even(items):
        assert len(items) % 2 == 0, "an even number"
        return torch.ones(len(items), 2)

    assert refused(even) == (
        "large.model: recorder cannot be used: AssertionError: an even number; it was given item "
        "number 99"
    )
    assert "given 16 items, the first being item number 0" in refused(lambda items: [int(items[0])])
    assert "SystemExit: 3" in refused(lambda items: sys.exit(3))


def test_an_answer_must_not_depend_on_the_batch():
    def centred(items):
        lengths = torch.tensor([[float(item[3]), 1.0] for item in items])
        return lengths - lengths.mean(0)

    assert "must answer for an item alike whatever else is in its batch" in refused(centred)
    assert "differ by 100%" in refused(centred)


def test_a_parser_of_rows_is_shown_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code = (
        "def parse(rows):\n"
        "    parts = [dict(cell.split(': ') for cell in row.split(', ')) for row in rows]\n"
        "    return [[float(part['a']), float(part['b'])] for part in parts]\n"
    )
    (tmp_path / "rows_of_mine.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    fm = load_foundation("callable:rows_of_mine:parse", "auto", torch.device("cpu"), "float32")
    prove(fm, ROWS, 16, place)
    assert fm.dimension == 2
    with pytest.raises(UserError) as caught:
        prove(fm, [*ROWS, "a: none"], 16, place)
    assert "ValueError: could not convert string to float: 'none'" in str(caught.value)
    assert "item number 100" in str(caught.value) and "picture" not in str(caught.value)


def test_a_text_of_300_words_fits_into_an_fm_of_twelve_places(tmp_path: Path):
    fm = load_foundation(save_bert(tmp_path / "bert"), "auto", torch.device("cpu"), "float32")
    prove(fm, ["red apple", "green pear"], 16, place)
