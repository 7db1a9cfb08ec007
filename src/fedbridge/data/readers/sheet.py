"""How a table's values become items: columns by their roles, missing words, what is noticed."""

import difflib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from fedbridge.config.columns import TableColumns
from fedbridge.core.errors import UserError
from fedbridge.core.words import composed, is_missing, plain_value, word_of
from fedbridge.data.readers.cells import Cells, cell
from fedbridge.data.readers.dates import as_date
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.pixels import Encoded, levels_of
from fedbridge.data.readers.rows import UNLABELLED, Row
from fedbridge.data.readers.signs import USUAL, Signs

Record = dict[str, Any]


@dataclass(frozen=True)
class Sheet:
    """A table's settings, the signs in its numbers, and what is noticed while it is read."""

    settings: TableColumns
    notice: Notice = field(default_factory=Notice)
    signs: Signs = USUAL

    @classmethod
    def typed(cls, settings: TableColumns, notice: Notice) -> "Sheet":
        """Return the sheet of a table whose numbers need no guess, since most are no texts."""
        signs = Signs(settings.decimal or ".", settings.thousands)
        return cls(settings, notice, signs)

    def known(self, values: Record, column: str) -> Any:
        """Return a value, None if it is missing."""
        value = values[column]
        self.notice.looked[column] += 1
        if is_missing(value, self._missing) or (self._codes and self._code(value) in self._codes):
            self.notice.nothing(column, value)
            return None
        return value

    def word(self, values: Record, column: str) -> str | None:
        """Return a value as a word, None if it is missing; raise UserError if it can be none."""
        value = self.known(values, column)
        if value is None:
            return None
        try:
            word = word_of(self.signs.word(value) if isinstance(value, str) else value)
        except UserError as error:
            raise UserError(f"column {column!r} {error}") from None
        self.notice.name(column, word)
        return word

    def needed(self, values: Record, column: str) -> str:
        """Return a value as a word; raise UserError if it is missing."""
        word = self.word(values, column)
        if word is None:
            raise _lacking(column)
        return word

    def date(self, values: Record, column: str) -> Any:
        """Return a date as it is written; raise UserError if it is missing or none."""
        value = self.known(values, column)
        if value is None:
            raise _lacking(column)
        return as_date(column, value, self.settings.date_format, self.settings.where)

    def row(self, place: str, values: Record) -> Row:
        """Return the item of a row."""
        settings = self.settings
        if settings.features is not None:
            return self.labelled(place, values, self.cells(values))
        if settings.text is not None:
            return self.labelled(place, values, self._text(values, settings.text))
        picture = partial(_picture_bytes, values[getattr(settings, "image", "")])
        return self.labelled(place, values, Encoded(picture, levels_of(settings)))

    def labelled(self, place: str, values: Record, content: str | Encoded | Cells) -> Row:
        """Return an item of this content with the label and the group of a row."""
        settings = self.settings
        label = self.word(values, settings.label) if settings.labelled else UNLABELLED
        group = None if settings.group is None else self.word(values, settings.group)
        return Row(place, label, content, group)

    @cached_property
    def _missing(self) -> frozenset[str]:
        return frozenset(self.settings.missing)

    @cached_property
    def _codes(self) -> frozenset[float]:
        """Numbers that stand for nothing, such as -9, however they are written."""
        numbers = (USUAL.number(word) for word in self.settings.missing)
        return frozenset(number for number in numbers if number is not None)

    def _code(self, value: Any) -> float | None:
        known = plain_value(value)
        if isinstance(known, str):
            return self.signs.number(known)
        return known if isinstance(known, int | float) and not isinstance(known, bool) else None

    def _text(self, values: Record, column: str) -> str:
        value = self.known(values, column)
        if value is None:
            return ""
        return value if isinstance(value, str) else word_of(value)

    def cells(self, values: Record) -> Cells:
        """Return the features of a row that are given."""
        found = []
        for column in self.settings.features or ():
            value = self.known(values, column)
            if value is None:
                continue
            known = cell(column, plain_value(value), self.signs)
            if isinstance(known, str):
                self.notice.feature(column, known)
            found.append((column, known))
        return Cells(tuple(found))


def require_columns(
    place: str, settings: TableColumns, found: Iterable[str], advice: str = ""
) -> None:
    """Raise UserError naming the setting if a column that it names is missing or occurs twice.

    ``advice`` is what else may be the reason.
    """
    known = Counter(map(composed, found))
    for role, column in settings.roles:
        count = known[composed(column)]
        if not count:
            close = difflib.get_close_matches(column, known, n=1)
            meant = f"; did you mean {close[0]!r}?" if close and not advice else advice
            raise UserError(
                f"{place}: {settings.where}.{role}: must be one of the columns "
                f"{', '.join(known)}, found {column!r}{meant}"
            )
        if count > 1:
            raise UserError(
                f"{place}: {settings.where}.{role}: the column {column!r} must stand once in the "
                f"table, found it {count} times; give each a name of its own"
            )


def _lacking(column: str) -> UserError:
    return UserError(f"must have a value in column {column!r}, found none")


def _picture_bytes(value: Any) -> bytes:
    data = (value or {}).get("bytes")
    if not isinstance(data, bytes):
        raise ValueError("the picture must lie in the data set itself, found none there")
    return data
