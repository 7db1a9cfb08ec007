"""What the data say of tasks, as numbers: tasks by their names, dates by periods."""

import datetime

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Own
from fedbridge.data.readers.dates import as_date, period_of
from fedbridge.data.readers.rows import natural


def numbered(values: tuple[str, ...], own: Own) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return each item's task ``(N,)`` from 0, and the tasks' names, in order.

    Only tasks that have items count. A number of periods cuts the time from the first to the last
    date into parts of equal length.
    """
    if own.date is None:
        names = list(values)
    else:
        moments = [as_date(own.date, value) for value in values]
        if isinstance(own.period, int):
            names = _cut(moments, own.period)
        else:
            names = [period_of(moment, own.period) for moment in moments]
    ordered = sorted(set(names), key=natural)
    place = {name: number for number, name in enumerate(ordered)}
    return np.array([place[name] for name in names], np.int64), tuple(ordered)


def _cut(moments: list[datetime.datetime], count: int) -> list[str]:
    first, last = min(moments), max(moments)
    length = (last - first) / count

    def name(moment: datetime.datetime) -> str:
        number = min(count - 1, int((moment - first) / length)) if length else 0
        return f"{number + 1}: from {first + number * length:%Y-%m-%d}"

    return [name(moment) for moment in moments]
