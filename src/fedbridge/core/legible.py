"""Words of another side, as they may stand in a log, an event, a page or a terminal."""

import unicodedata
from typing import Any

MOST_TOLD = 1000
"""Most letters of what another side says in words that are repeated anywhere."""
UNSEEN = frozenset(
    chr(code)
    for start, end in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
    )
    for code in range(start, end + 1)
)
"""Fillers and selectors: letters to Unicode, and nothing to the eye."""
TURNS = dict.fromkeys(
    [*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    "?",
)
"""What a terminal obeys, and what turns the letters after it; line ends and tabs are neither."""
MARKS = 3
"""Most marks on one letter; a tower of them covers the lines above."""


def legible(words: str) -> str:
    """Return another side's words in letters that can be seen, on one line, and not too many.

    For line ends, whatever else a terminal would obey, what turns or hides other letters, and half
    a surrogate there is a question mark.
    """
    cut = words[:MOST_TOLD] + "..." * (len(words) > MOST_TOLD)
    seen, marks = [], 0
    for letter in cut:
        marks = marks + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        clear = letter.isprintable() and letter not in UNSEEN and marks <= MARKS
        seen.append(letter if clear else "?")
    return "".join(seen)


def on_page(value: Any) -> Any:
    """Return a value as a page shows it: whatever it says, it turns no letter that follows.

    Unlike ``legible`` it keeps joiners, without which some scripts and emoji fall apart: a page is
    escaped anyway. It is what Jinja's environments ``finalize`` with; finished markup stays.
    """
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return value.translate(TURNS)
    return value
