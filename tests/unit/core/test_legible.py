import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.legible import MARKS, MOST_TOLD, legible, on_page


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("Grüße, 東京 🙂", "Grüße, 東京 🙂"),
        ("\x1b[31mred", "?[31mred"),
        ("\x1b]0;title\x07", "?]0;title?"),
        ("\x9b31m", "?31m"),
        ("one\r\ntwo\tthree", "one??two?three"),
        ("\u202egpj.exe", "?gpj.exe"),
        ("a\u2066b\u2069", "a?b?"),
        ("zero\u200bwidth\ufeff", "zero?width?"),
        ("\u3164\u115f\u2800\ufe0f", "????"),
        ("half \ud800 of it", "half ? of it"),
        ("line\u2028end\u0085", "line?end?"),
        ("\x00\x7f", "??"),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 5, "e" + "\u0301" * MARKS + "??"),
        ("x" * 2000, "x" * MOST_TOLD + "..."),
    ],
)
def test_what_is_no_letter_to_the_eye_is_a_question_mark(words: str, shown: str):
    assert legible(words) == shown


@given(st.text(st.characters()))
def test_whatever_it_was_it_is_one_line_that_can_be_written(words: str):
    shown = legible(words)
    assert shown.isprintable() and legible(shown[:MOST_TOLD]) == shown[:MOST_TOLD]
    shown.encode("utf-8")
    assert len(shown) == min(len(words), MOST_TOLD) + 3 * (len(words) > MOST_TOLD)


def test_a_page_turns_no_letters_and_keeps_what_is_joined():
    assert on_page("\x1b[31m\x07 \u202eexe \u2066a\u2069\x85") == "?[31m? ?exe ?a??"
    kept = "line\n\tend, \u0646\u0645\u06cc\u200c\u062f, \U0001f469\u200d\U0001f680"
    assert on_page(kept) == kept
    assert on_page(3) == 3


def test_finished_markup_of_a_page_stays():
    from markupsafe import Markup

    assert on_page(Markup("<b>\x1b</b>")) == Markup("<b>\x1b</b>")
