"""How numbers are written that are texts: which sign is the decimal one, which groups digits."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from fedbridge.config.columns import Values
from fedbridge.core.errors import UserError

SPACES = "\u00a0\u202f\u2009"  # blanks that do not break lines, as spreadsheets write them
SIGNS = ".,"
FORM = re.compile(
    r"[+-]?(?P<head>\d{1,3}(?:(?P<group>[.,'’ ])\d{3})(?:(?P=group)\d{3})*|\d+)"
    r"(?:(?P<sign>[.,])\d+(?:[eE][+-]?\d+)?)?"
)
LONG = 15  # digits that a float holds in any case


@dataclass(frozen=True)
class Signs:
    """The decimal sign, and what stands between groups of three digits; None for nothing."""

    decimal: str = "."
    thousands: str | None = None

    def number(self, text: str) -> float | int | None:
        """Return the number that a text is; None if it is none."""
        digits = text.strip()
        if self.thousands is not None:
            digits = self._ungrouped(digits)
        if self.decimal != ".":
            if "." in digits:
                return None
            digits = digits.replace(self.decimal, ".", 1)
        try:
            if "_" in digits or digits[-1:].isalpha():  # 1_000, inf, nan: known to Python alone
                return None
            return int(digits) if len(digits) > LONG and digits.isdecimal() else float(digits)
        except ValueError:
            return None

    def word(self, text: str) -> str:
        """Return a text; one that is a number with a decimal comma has a point instead."""
        if self.decimal == "." or not re.fullmatch(r"-?\d+,\d+", text.strip()):
            return text
        return text.replace(",", ".")

    def _ungrouped(self, digits: str) -> str:
        text = _with_plain_blanks(digits)
        form = FORM.fullmatch(text)
        if form is None or form["group"] != self.thousands or form["sign"] == self.thousands:
            return digits
        return text.replace(str(self.thousands), "")


USUAL = Signs()


@dataclass
class Evidence:
    """What the numbers of a table tell of its signs; ``open`` ones could mean either."""

    decimal: Counter[str] = field(default_factory=Counter)
    thousands: Counter[str] = field(default_factory=Counter)
    open: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """A value of each of these kinds, by kind and sign."""

    def see(self, text: str) -> None:
        """Take a value in, if it is a number with a sign in it."""
        form = FORM.fullmatch(_with_plain_blanks(text.strip()))
        if form is None:
            return
        head, group, sign = form["head"], form["group"], form["sign"]
        if group is None:
            if sign is not None:
                self._note("decimal", sign, text)
        elif sign == group:  # no number: 1.234.5
            return
        elif sign is not None:
            self._note("decimal", sign, text)
            self._note("thousands", group, text)
        elif group in SIGNS and head.count(group) == 1:
            self._note("decimal" if head[0] == "0" else "open", group, text)  # 0.125 has no group
        else:
            self._note("thousands", group, text)
            if group in SIGNS:
                self._note("decimal", _other(group), text)

    def _note(self, kind: str, sign: str, text: str) -> None:
        getattr(self, kind)[sign] += 1
        self.examples.setdefault(f"{kind} {sign}", text.strip())

    def seen(self, decimal: str, group: str) -> str:
        """Return a number with this decimal sign, or else one that it makes one of thousands."""
        kinds = (f"decimal {decimal}", f"open {decimal}", f"open {group}")
        return next((self.examples[kind] for kind in kinds if kind in self.examples), "")

    def sure(self) -> str | None:
        """Return the decimal sign if the numbers leave no doubt."""
        found = [sign for sign in SIGNS if self.decimal[sign]]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class Found:
    """Signs, and in words what was guessed of them and what remains doubtful."""

    signs: Signs
    guessed: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


def found_signs(
    features: Evidence,
    others: Evidence,
    stated: Values,
    usual: str = ".",
) -> Found:
    """Return the signs that are stated, and what the values themselves tell of the others.

    The columns that are read as numbers decide; if those are open, the others of the file do.
    ``usual`` are the decimal signs that may be taken then. Raises UserError, naming the setting,
    where a number needs another one.
    """
    decimal, thousands, where = stated.decimal, stated.thousands, stated.where
    sign = decimal or (_other(thousands) if thousands in (*SIGNS,) else features.sure())
    both = sign is None and all(features.decimal[one] for one in SIGNS)
    if sign is None and not both:
        sign = others.sure()
    doubtful = [one for one in SIGNS if features.open[one] and one not in usual]
    if sign is None and not both and doubtful:
        raise UserError(
            f"{where}.decimal: must be stated, '.' or ',', since "
            f"{features.examples[f'open {doubtful[0]}']!r} may be a number with a fraction or one "
            f"of thousands"
        )
    signs = Signs(sign or ".", thousands or _grouping(features, sign))
    told = _told(features, others, signs, stated)
    return Found(signs, told, _doubts(features, signs, sign is None, where))


def signs_within(texts: Iterable[str]) -> Signs:
    """Return the signs of some numbers by themselves, the usual ones where they leave it open."""
    evidence = Evidence()
    for text in texts:
        evidence.see(text)
    sign = evidence.sure()
    return Signs(sign or ".", _grouping(evidence, sign))


def _grouping(evidence: Evidence, sign: str | None) -> str | None:
    """Return what groups digits where the decimal sign is known; None if nothing does."""
    found = evidence.thousands + (evidence.open if sign is not None else Counter())
    found = Counter({group: count for group, count in found.items() if group != (sign or ".")})
    if sign is None:  # 1,234 alone says nothing
        found = Counter({group: count for group, count in found.items() if group not in SIGNS})
    return found.most_common(1)[0][0] if found else None


def _told(evidence: Evidence, others: Evidence, signs: Signs, stated: Values) -> tuple[str, ...]:
    told, where = [], stated.where
    if stated.decimal is None and signs.decimal == ",":
        seen = evidence.seen(",", ".") or others.seen(",", ".")
        told.append(
            f'numbers as with a decimal comma ({seen}); {where}.decimal = "," states it, "." says '
            f"that they are words"
        )
    if stated.thousands is None and signs.thousands is not None:
        kinds = (f"thousands {signs.thousands}", f"open {signs.thousands}")
        seen = next(evidence.examples[kind] for kind in kinds if kind in evidence.examples)
        told.append(
            f"{signs.thousands!r} as what groups digits ({seen}); {where}.thousands = "
            f'"{signs.thousands}" states it'
        )
    return tuple(told)


def _doubts(evidence: Evidence, signs: Signs, undecided: bool, where: str) -> tuple[str, ...]:
    wrong = _other(signs.decimal)
    if count := evidence.decimal[wrong]:
        what = {",": "a decimal comma", ".": "a decimal point"}
        return (
            f"{count} numbers such as {evidence.examples[f'decimal {wrong}']} have {what[wrong]} "
            f"and are read as words, since the others have {what[signs.decimal]}, or "
            f"{where}.decimal says so",
        )
    if undecided and evidence.open["."] and signs.thousands != ".":
        return (
            f"{evidence.examples['open .']} is read as a number with a fraction; if it is one of "
            f'thousands, state {where}.thousands = "."',
        )
    return ()


def _other(sign: str | None) -> str:
    return "," if sign == "." else "."


def _with_plain_blanks(text: str) -> str:
    if text.isascii():
        return text
    for blank in SPACES:
        text = text.replace(blank, " ")
    return text.replace("’", "'")
