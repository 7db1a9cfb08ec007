"""What data say of tasks, as numbers."""

import pytest

from fedbridge.config import Own
from fedbridge.data.own.periods import numbered

DATES = ("2025-03-31", "2024-12-30T08:00", "2025-01-01T00:30+02:00", "2025-03-01")


def test_names_are_sorted_with_their_numbers_as_numbers():
    numbers, names = numbered(("t10", "t9", "t10", "a"), Own(task="t"))
    assert names == ("a", "t9", "t10")
    assert numbers.tolist() == [2, 1, 2, 0]


@pytest.mark.parametrize(
    ("period", "names", "numbers"),
    [
        ("day", ("2024-12-30", "2025-01-01", "2025-03-01", "2025-03-31"), [3, 0, 1, 2]),
        ("week", ("2025-W01", "2025-W09", "2025-W14"), [2, 0, 0, 1]),
        ("month", ("2024-12", "2025-01", "2025-03"), [2, 0, 1, 2]),
        ("quarter", ("2024-Q4", "2025-Q1"), [1, 0, 1, 1]),
        ("year", ("2024", "2025"), [1, 0, 1, 1]),
    ],
)
def test_dates_by_the_calendar(period, names, numbers):
    found, known = numbered(DATES, Own(date="d", period=period))
    assert known == names
    assert found.tolist() == numbers


def test_periods_of_equal_length_without_those_that_are_empty():
    days = ("2025-01-01", "2025-01-02", "2025-01-11", "2025-01-09")
    numbers, names = numbered(days, Own(date="d", period=2))
    assert numbers.tolist() == [0, 0, 1, 1]
    assert names == ("1: from 2025-01-01", "2: from 2025-01-06")
    numbers, names = numbered(days, Own(date="d", period=5))
    assert names == ("1: from 2025-01-01", "5: from 2025-01-09")
    assert numbers.tolist() == [0, 0, 1, 1]


def test_one_moment_is_one_period():
    numbers, names = numbered(("2025-01-01", "2025-01-01"), Own(date="d", period=3))
    assert numbers.tolist() == [0, 0]
    assert len(names) == 1
