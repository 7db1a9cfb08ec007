"""Texts as token ids for small models: hashed words and their hashed character trigrams."""

import unicodedata
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

VOCABULARY = 8192  # token ids, of which 0 is padding
LENGTH = 96
START, END = "<", ">"  # the marks at a word's boundaries; no word contains them


def tokenize(text: str) -> NDArray[np.uint16]:
    """Return the token ids ``(LENGTH,)`` of a text in reading order, cut off or padded with 0.

    Each word gives its own id and then those of the character trigrams of ``<word>``. In
    scripts written without spaces a run of letters counts as a word whose every character is
    hashed as a word. Hashing into n-gram buckets follows Bojanowski et al., "Enriching Word
    Vectors with Subword Information", TACL 2017.
    """
    ids = np.zeros(LENGTH, np.uint16)
    for place, token in zip(range(LENGTH), tokens(text), strict=False):
        ids[place] = zlib.crc32(token.encode()) % (VOCABULARY - 1) + 1
    return ids


def tokens(text: str) -> Iterator[str]:
    """Yield what :func:`tokenize` hashes: words in boundary marks, each with its trigrams."""
    for word in words(text):
        pieces = word if all(map(is_unspaced, word)) else [word]
        for piece in pieces:
            yield START + piece + END
        marked = START + word + END
        for start in range(len(marked) - 2):
            yield marked[start : start + 3]


def words(text: str) -> list[str]:
    """Return the runs of letters, marks and numbers, NFKC-normalised and casefolded.

    Marks belong to words: vowel signs of Indic scripts are marks.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded).split()


def is_unspaced(character: str) -> bool:
    """Return whether a character's script is written without spaces (Han, kana, Thai, Lao, ...)."""
    code = ord(character)
    return any(first <= code <= last for first, last in UNSPACED)


UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # iteration mark and zero of Han
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x20000, 0x3FFFF),  # Han, extensions
)
