import unicodedata

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.tokens import LENGTH, VOCABULARY, is_unspaced, tokenize, tokens, words


def test_a_word_gives_itself_and_its_trigrams():
    assert list(tokens("Cat")) == ["<cat>", "<ca", "cat", "at>"]
    assert list(tokens("I")) == ["<i>", "<i>"]


def test_words_follow_in_reading_order():
    assert list(tokens("an ox")) == ["<an>", "<an", "an>", "<ox>", "<ox", "ox>"]


def test_scripts_without_spaces_give_characters():
    assert list(tokens("笑顔")) == ["<笑>", "<顔>", "<笑顔", "笑顔>"]
    assert all(map(is_unspaced, "笑顔スマイルとほほー々ไทย"))
    assert not any(map(is_unspaced, "aéяवعض한"))


def test_vowel_signs_stay_in_their_word():
    assert words("दाँत दिखाता") == ["दाँत", "दिखाता"]


def test_case_width_and_punctuation_do_not_matter():
    assert words("Straße: GRINNING, face's ｆｕｌｌ") == [
        "strasse",
        "grinning",
        "face",
        "s",
        "full",
    ]


def test_ids_are_the_same_on_every_machine():
    # CRC-32 of "<hi>", "<hi" and "hi>", folded into 1..8191
    checksums = (2820919256, 1266351541, 3436941007)
    assert tokenize("hi")[:4].tolist() == [*(number % 8191 + 1 for number in checksums), 0]


@given(st.text(max_size=300))
def test_ids_fill_the_front_and_zeros_the_rest(text):
    ids = tokenize(text)
    count = min(len(list(tokens(text))), LENGTH)
    assert ids.shape == (LENGTH,) and ids.dtype == np.uint16
    assert (ids[:count] > 0).all() and (ids[:count] < VOCABULARY).all()
    assert not ids[count:].any()


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_text_begins_with_the_tokens_of_its_first_words(first, second):
    start = list(tokens(first))
    assert list(tokens(f"{first} {second}"))[: len(start)] == start


@given(st.text(max_size=30))
def test_equivalent_texts_give_equal_ids(text):
    once = unicodedata.normalize("NFKC", text)
    np.testing.assert_array_equal(tokenize(once), tokenize(unicodedata.normalize("NFKD", once)))


@given(st.text(st.characters(categories=["P", "Z", "S"]), max_size=20))
def test_texts_without_letters_are_all_padding(text):
    unlettered = "".join(
        c for c in text if not words(c)
    )  # a few symbols become letters when they are normalised
    assert not tokenize(unlettered).any()
