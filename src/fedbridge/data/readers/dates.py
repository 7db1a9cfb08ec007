"""Dates of tables and the periods in which they lie: one rule for own data and for sites.

A date counts as it is written. One with an offset from UTC is of the day and the month at that
place, so that nothing depends on where it is read.
"""

import datetime
from typing import Any

from fedbridge.core.errors import UserError
from fedbridge.core.words import plain_value, word_of

PERIODS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}
"""Names of periods, which sort as time goes."""
DAYS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%d.%m.%y", "%m/%d/%y")
TIMES = ("", " %H:%M", " %H:%M:%S")
"""Other ways to write a date, which an error suggests."""


def as_date(
    column: str, value: Any, form: str | None = None, where: str = "data"
) -> datetime.datetime:
    """Return a date, or date and time, as it is written, without its offset.

    ``form`` says how texts are written, as ``strptime`` has it. Raises UserError, naming the
    column and the setting in the section ``where`` that may help, if the value is no date.
    """
    known = plain_value(value)
    if isinstance(known, datetime.datetime):
        return known.replace(tzinfo=None)
    if isinstance(known, datetime.date):
        return datetime.datetime(known.year, known.month, known.day)
    text = str(known).strip() if isinstance(known, str) else word_of(known)
    try:
        if form is not None:
            return datetime.datetime.strptime(text, form).replace(tzinfo=None)
        return datetime.datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError as error:
        such = f"written as {form}" if form is not None else "such as 2025-01-31"
        raise UserError(
            f"column {column!r} must hold dates {such}, found {value!r}{_advice(text, where)}"
        ) from error


def period_of(moment: datetime.datetime, period: str) -> str:
    """Return the name of the day, week, month, quarter or year in which a date lies."""
    if period == "quarter":
        return f"{moment.year:04}-Q{(moment.month + 2) // 3}"
    return moment.strftime(PERIODS[period])


def _advice(text: str, where: str) -> str:
    fitting = [day + time for day in DAYS for time in TIMES if _fits(text, day + time)]
    if not fitting:
        return ""
    return f"; {where}.date_format = {' or '.join(map(repr, fitting))} would read it"


def _fits(text: str, form: str) -> bool:
    try:
        datetime.datetime.strptime(text, form)
    except ValueError:
        return False
    return True
