"""One spelling for every value that serves as a word."""

import datetime
import unicodedata
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as arrow
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.errors import UserError
from fedbridge.core.words import MISSING, alike, is_missing, word_of
from fedbridge.methods.files import parse_config

THREES = (
    *(3, 3.0, "3", " 3 ", "3.0", "3.00", np.int8(3), np.uint64(3), np.float32(3), np.float16(3)),
    *(Decimal(3), Decimal("3.00"), np.array(3), torch.tensor(3), torch.tensor(3.0), b"3"),
    *(arrow.scalar(3), arrow.scalar(3.0), arrow.scalar("3"), pd.Series([3], dtype="Int64")[0]),
)


@pytest.mark.parametrize("value", THREES, ids=lambda value: f"{type(value).__name__} {value!r}")
def test_three_is_one_word_whatever_holds_it(value):
    assert word_of(value) == "3"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (44054006.0, "44054006"),
        ("44054006.0", "44054006"),
        (44054007.0, "44054007"),
        (2**53 + 1, "9007199254740993"),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (1e16, "10000000000000000"),
        ("1e+16", "10000000000000000"),
        (1e300, "1e+300"),
        (0.1, "0.1"),
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (1 / 3, "0.3333333333333333"),
        (Decimal("12.50"), "12.5"),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789"),
        (-0.0, "0"),
        ("-0.0", "0"),
        ("-7.0", "-7"),
    ],
)
def test_numbers_are_exact(value, word):
    assert word_of(value) == word


@pytest.mark.parametrize(
    "text", ["007", "007.0", "01067", "1.10", "1e5", "12E4", "1_000", "1,5", "v1.0", "3.", "+3"]
)
def test_codes_stay_as_they_stand(text):
    assert word_of(text) == text


@pytest.mark.parametrize("value", [True, np.True_, "True", "TRUE", "true", torch.tensor(True)])
def test_truth_is_one_word(value):
    assert word_of(value) == "true"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (datetime.date(2025, 1, 31), "2025-01-31"),
        (datetime.datetime(2025, 1, 31), "2025-01-31"),
        (pd.Timestamp("2025-01-31"), "2025-01-31"),
        (np.datetime64("2025-01-31"), "2025-01-31"),
        (np.datetime64("2025-01-31", "ns"), "2025-01-31"),
        ("2025-01-31 00:00:00", "2025-01-31"),
        ("2025-01-31T00:00", "2025-01-31"),
        ("2025-01-31T08:30", "2025-01-31 08:30:00"),
        (pd.Timestamp("2025-01-31 08:30"), "2025-01-31 08:30:00"),
        (np.datetime64("2025-01-31T08:30", "ns"), "2025-01-31 08:30:00"),
        ("2025-01-31T00:00Z", "2025-01-31 00:00:00+00:00"),
        ("2025-13-31T00:00", "2025-13-31T00:00"),
        (datetime.time(8, 30), "08:30:00"),
        (pd.Timedelta(hours=30), "1 day, 6:00:00"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_dates_are_one_word(value, word):
    known = value.to_pytimedelta() if isinstance(value, pd.Timedelta) else value
    assert word_of(known) == word


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_are_composed(form):
    assert word_of(unicodedata.normalize(form, "Bär")) == "B\u00e4r"
    assert word_of(unicodedata.normalize(form, "Bär").encode()) == "B\u00e4r"


@pytest.mark.parametrize(
    "value", [[1, 2], (1, 2), {"a": 1}, np.zeros(2), b"\xff\xfe", 1j, object, arrow.scalar([1])]
)
def test_what_is_no_word_is_refused_by_what_it_is(value):
    with pytest.raises(UserError, match="must hold numbers, words or dates, found "):
        word_of(value)


NOTHING = (None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"))


@pytest.mark.parametrize("value", [*NOTHING, Decimal("NaN"), arrow.scalar(None), "", "  "])
def test_nothing_is_missing_and_no_word(value):
    assert is_missing(value, ())
    with pytest.raises(UserError, match="found"):
        word_of(value)


def test_what_other_programs_write_is_missing_unless_it_is_a_word():
    for word in ("NA", "NaN", "nan", "null", "NULL", "None", "N/A", "#N/A", "<NA>", " NA ", "NaT"):
        assert is_missing(word)
        assert not is_missing(word, ())
    for word in ("none", "no", "0", "-", "Nancy", "n", "na"):
        assert not is_missing(word)
    assert is_missing("-9", ("-9",))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_exactly_its_word(number):
    assert float(word_of(number)) == number
    assert word_of(repr(number)) == word_of(number)


@given(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.booleans()))
def test_a_word_is_the_word_of_itself(value):
    try:
        word = word_of(value)
    except UserError:
        return
    assert word_of(word) == word


def test_words_that_look_alike_are_told():
    assert alike(["Cat", "cat", "dog", "c at", "1.5", "1.50", "1.6"]) == [
        ("Cat", "cat", "c at"),
        ("1.5", "1.50"),
    ]


def test_the_words_for_nothing_are_each_named_once():
    assert len(set(MISSING)) == len(MISSING)


def test_classes_of_a_config_are_spelled_as_data_are():
    decomposed = unicodedata.normalize("NFD", "Bär")
    data = {"name": "site", "clients": ["a"], "modality": "text", "public": "none"}
    tree = {"data": data | {"classes": [decomposed, 3, "4.0"], "public_items": 9}}
    config = parse_config(tree | {"scenario": {"clients": 1}}, "test")
    assert config.data.classes == ("B\u00e4r", "3", "4")
    with pytest.raises(UserError, match=r"data.classes must name each once"):
        parse_config({"data": data | {"classes": ["B\u00e4r", decomposed], "public_items": 9}}, "t")
