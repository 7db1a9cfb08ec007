"""What the numbers of a table tell of the signs in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.config import Own
from fedbridge.core.errors import UserError
from fedbridge.data.readers.cells import cells
from fedbridge.data.readers.signs import Evidence, Signs, found_signs


def evidence(*texts: str) -> Evidence:
    found = Evidence()
    for text in texts:
        found.see(text)
    return found


def signs(*texts, others=(), usual=".", **stated):
    return found_signs(evidence(*texts), evidence(*others), Own(**stated), usual)


@pytest.mark.parametrize(
    ("texts", "decimal", "thousands"),
    [
        (["12.5", "7"], ".", None),
        (["12,5", "7"], ",", None),
        (["12,5", "12.345"], ",", "."),
        (["1.234,56"], ",", "."),
        (["1,234.56"], ".", ","),
        (["12.5", "1,234"], ".", ","),
        (["1.234.567"], ",", "."),
        (["1,234,567"], ".", ","),
        (["0.125"], ".", None),
        (["0,125"], ",", None),
        (["1234,567"], ",", None),
        (["1 234,5"], ",", " "),
        (["1\u202f234,5"], ",", " "),
        (["1'234.5"], ".", "'"),
        (["1 234", "7"], ".", " "),
        (["red", "31.01.2025", "1.2.3", "12"], ".", None),
    ],
)
def test_the_values_tell_the_signs(texts, decimal, thousands):
    assert signs(*texts).signs == Signs(decimal, thousands)


def test_what_was_guessed_is_said_and_how_to_state_it():
    found = signs("36,30", "12.345")
    assert found.guessed == (
        "numbers as with a decimal comma (36,30); data.own.decimal = \",\" states it, \".\" says "
        "that they are words",
        "'.' as what groups digits (12.345); data.own.thousands = \".\" states it",
    )  # fmt: skip
    assert signs("36,30", decimal=",").guessed == ()
    assert signs("36.30").guessed == ()


def test_other_columns_decide_what_the_features_leave_open():
    assert signs("12.345", others=["36,30"]).signs == Signs(",", ".")
    assert signs("12,345", others=["36.30"]).signs == Signs(".", ",")
    assert signs("12.5", others=["36,30"]).signs == Signs(".", None)


def test_a_comma_that_may_be_either_is_asked_for():
    with pytest.raises(
        UserError, match=r"data.own.decimal: must be stated, '.' or ',', since '12,345' may"
    ):
        signs("12,345")
    assert signs("12,345", decimal=",").signs == Signs(",")
    assert signs("12,345", decimal=".").signs == Signs(".", ",")
    assert signs("12,345", thousands=",").signs == Signs(".", ",")


def test_a_point_that_may_be_either_is_a_fraction_and_said():
    found = signs("12.345")
    assert found.signs == Signs(".")
    assert found.odd == (
        '12.345 is read as a number with a fraction; if it is one of thousands, state '
        'data.own.thousands = "."',
    )  # fmt: skip
    assert signs("12.345", thousands=".").signs == Signs(",", ".")
    assert signs("12.345", "1.5").odd == ()
    with pytest.raises(UserError, match=r"since '12.345' may be a number with a fraction or one"):
        signs("12.345", usual="")  # between semicolons, a decimal comma is as likely


def test_numbers_of_the_other_sign_are_said_to_be_words():
    (line,) = signs("12,5", "12.5").odd
    assert "numbers such as 12,5 have a decimal comma and are read as words" in line
    (line,) = signs("12,5", decimal=".").odd
    assert "12,5" in line


@pytest.mark.parametrize(
    ("text", "usual", "comma"),
    [
        ("12.5", 12.5, None),
        ("12,5", None, 12.5),
        ("1.234,5", None, 1234.5),
        ("1.234", 1.234, 1234.0),
        ("31.01.2025", None, None),
        ("1.23.456", None, None),
        ("-7", -7.0, -7.0),
        ("1e-3", 0.001, 0.001),
        ("1_000", None, None),
        ("inf", None, None),
        ("nan", None, None),
        ("red", None, None),
        ("", None, None),
        ("9007199254740993", 9007199254740993, 9007199254740993),
    ],
)
def test_numbers_are_read_by_their_signs(text, usual, comma):
    assert Signs().number(text) == usual
    assert Signs(",", ".").number(text) == comma


@given(st.integers(-(10**9), 10**9), st.integers(0, 99))
def test_both_ways_to_write_a_number_are_the_same(whole, hundredths):
    english = f"{whole:,}.{hundredths:02}"
    german = english.translate(str.maketrans(",.", ".,"))
    wanted = float(f"{whole}.{hundredths:02}")
    assert Signs(".", ",").number(english) == Signs(",", ".").number(german) == wanted


def test_cells_by_themselves_are_read_by_what_they_tell():
    wanted = (("temp", 36.3), ("steps", 12345.0))
    assert cells({"temp": "36,30", "steps": "12.345"}).values == wanted
    assert cells({"temp": "36.30", "steps": "12345"}).values == wanted
    assert cells({"age": "NA", "b": "NaN", "c": "1,5", "d": None}).text == "c: 1.5"


def test_numbers_stand_in_the_text_with_all_their_digits_and_small_models_read_them_as_before():
    exact = cells({"a": 44054006.0, "b": 0.123456789, "c": 2**53 + 1, "d": 3.0, "e": True})
    assert exact.text == "a: 44054006, b: 0.123456789, c: 9007199254740993, d: 3, e: true"
    assert cells({"a": "44054006"}).tokens.tolist() == cells({"a": 44054006.0}).tokens.tolist()
    assert cells({"a": 1.21}).tokens[:3].tolist() == [4348, 7094, 0]
    assert cells({"b": "Red", "c": True}).tokens[:3].tolist() == [2918, 2426, 0]
