"""What is noticed while tables are read: what was guessed, what is missing, what looks odd."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from fedbridge.core.notes import Notes
from fedbridge.core.words import alike

LOOKED_AT = 5000  # words of a column of features that are compared
FEW = 20  # words that may all differ
SHOWN = 3
Names = dict[str, None]  # in the order in which they were met


@dataclass
class Notice:
    """Counts by column, and lines of what was guessed."""

    guessed: Names = field(default_factory=dict)
    odd: Names = field(default_factory=dict)
    looked: Counter[str] = field(default_factory=Counter)
    missing: dict[str, Counter[str]] = field(default_factory=dict)
    words: dict[str, Counter[str]] = field(default_factory=dict)
    """Of each column of features the first words in it."""
    named: dict[str, Names] = field(default_factory=dict)
    """Of each column of tasks, groups and so on its words."""

    def guess(self, *lines: str) -> None:
        """Report what was inferred because the settings do not state it."""
        self.guessed |= dict.fromkeys(lines)

    def doubt(self, *lines: str) -> None:
        """Report what deserves attention."""
        self.odd |= dict.fromkeys(lines)

    def nothing(self, column: str, value: Any) -> None:
        """Count a place without a value."""
        word = value.strip() if isinstance(value, str) else ""
        self.missing.setdefault(column, Counter())[word] += 1

    def feature(self, column: str, word: str) -> None:
        """Take in a word among the features."""
        known = self.words.setdefault(column, Counter())
        if len(known) < LOOKED_AT:
            known[word] += 1

    def name(self, column: str, word: str) -> None:
        """Take in a word that distinguishes items."""
        self.named.setdefault(column, {})[word] = None

    def notes(self) -> Notes:
        """Return everything in words."""
        different = [line for column in self.words if (line := self._different(column))]
        return Notes(
            tuple(self.guessed),
            tuple(self._absent(column) for column in self.missing),
            (*self.odd, *different, *self._alike()),
        )

    def _absent(self, column: str) -> str:
        found = self.missing[column]
        told = [f"{word!r} {count}" for word, count in found.most_common() if word]
        said = f" ({', '.join(told)})" if told else ""
        return f"column {column!r}: {found.total()} of {self.looked[column]}{said}"

    def _different(self, column: str) -> str:
        words = self.words[column]
        if len(words) < FEW or 2 * len(words) <= words.total():
            return ""
        few = ", ".join(map(repr, list(words)[:SHOWN]))
        return (
            f"column {column!r} of features holds words that nearly all differ ({few}, ...), from "
            f"which nothing can be learnt; if they are numbers, state how they are written, else "
            f"leave the column out"
        )

    def _alike(self) -> list[str]:
        return [
            f"{column}: {' and '.join(map(repr, same))} differ in case, blanks or last zeros alone"
            for column, names in self.named.items()
            for same in alike(names)
        ]
