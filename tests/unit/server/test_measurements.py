"""What clients say of their accuracy: taken as it is if an honest client could have said it."""

import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.core.errors import UserError
from fedbridge.core.metrics import PREDICTORS, PROTOCOLS, summarise
from fedbridge.methods.files import parse_config
from fedbridge.server.admission import MOST_ITEMS
from fedbridge.server.measurements import MOST_TASKS, Measurements
from fedbridge.wire import Evaluation, decode, encode

Row = tuple[int, str, str, int, int]
SMALL = parse_config({"large": {"head": "none"}}, "test")


def honest(tasks: int, correct: int = 5, predictors: tuple[str, ...] = PREDICTORS) -> list[Row]:
    """Return rows on tasks from 1, of ten items each."""
    return [(on, *kind, correct, 10) for on in range(1, tasks + 1) for kind in kinds(predictors)]


def kinds(predictors: tuple[str, ...] = PREDICTORS) -> list[tuple[str, str]]:
    return list(product(predictors, PROTOCOLS))


def said(after: int, rows: list[Row], client: str = "a") -> Evaluation:
    return Evaluation(client, after, tuple(rows))


def table(config: Any = None) -> Measurements:
    return Measurements(config or parse_config({}, "test"), ("a", "b"))


def reason(evaluation: Evaluation, slot: int = 2, measured: Measurements | None = None) -> str:
    measured = measured or table()
    before = measured.rows
    (refused,) = measured.take([evaluation], slot)
    assert measured.rows == before
    return refused.reason


def test_what_is_right_is_taken_in_the_order_of_clients():
    measured = table()
    ones = [said(0, honest(3), "b"), said(0, honest(3), "a"), said(1, honest(2, 7), "b")]
    assert measured.take(ones, 1) == []
    assert [(r.client, r.after_task) for r in measured.rows[::6]] == [
        *[("a", 0)] * 3,
        *[("b", 0)] * 3,
        *[("b", 1)] * 2,
    ]
    assert [row.correct for row in measured.rows if row.after_task == 1] == [7] * 12


def test_a_site_that_has_nothing_yet_measures_nothing():
    measured = table()
    assert measured.take([said(0, [])], 1) == [] == measured.rows


def test_who_measures_again_after_the_same_task_replaces_what_was():
    measured = table()
    measured.take([said(1, honest(1, 3)), said(1, honest(1, 4), "b")], 1)
    assert measured.take([said(1, honest(2, 9))], 2) == []
    assert [(r.client, r.on_task, r.correct) for r in measured.rows[::6]] == [
        ("a", 1, 9),
        ("a", 2, 9),
        ("b", 1, 4),
    ]


def test_where_there_is_no_large_side_only_small_models_are_measured():
    measured = table(SMALL)
    assert measured.take([said(1, honest(2, predictors=("small",)))], 1) == []
    assert "one for each of small, each" in reason(said(1, honest(1)), measured=table(SMALL))


def changed(place: int, **parts: Any) -> list[Row]:
    rows = honest(2)
    names = ("on", "predictor", "protocol", "correct", "n")
    rows[place] = tuple((dict(zip(names, rows[place], strict=True)) | parts).values())  # type: ignore[assignment]
    return rows


REFUSED = {
    "another client": (said(1, honest(1), "c"), "client: must be one of the federation's"),
    "a task to come": (said(3, honest(3)), "after_task: must be from 0 to 2, found 3"),
    "more right than there are": (
        said(1, changed(0, correct=11)),
        "on task 1, small, class-incremental: correct must be from 0 to 10, found 11",
    ),
    "fewer right than none": (said(1, changed(0, correct=-1)), "from 0 to 10, found -1"),
    "no items": (said(1, changed(0, n=0, correct=0)), f"n must be from 1 to {MOST_ITEMS}, found 0"),
    "absurdly many items": (said(1, changed(0, n=10**30)), f"n must be from 1 to {MOST_ITEMS}"),
    "another number of items": (said(1, changed(0, n=20)), "n must be the same in all rows"),
    "an unknown predictor": (said(1, changed(0, predictor="huge")), "found besides (1, ('huge'"),
    "an unknown protocol": (said(1, changed(0, protocol="x")), "found besides (1, ('small', 'x'"),
    "a task that is none": (said(1, changed(0, on=0)), "found besides (0, "),
    "a task far away": (said(1, changed(0, on=10**9)), "found besides (1000000000, "),
    "a row twice": (said(1, [*honest(1), *honest(1)[:1], *honest(1)[1:]]), "found besides (1, "),
    "a row too few": (said(1, honest(1)[:-1]), "rows: must be"),
    "a past task left out": (said(2, honest(1)), "rows: must be on 2 to 3 tasks, found 1"),
    "two tasks ahead": (said(1, honest(3)), "rows: must be on 1 to 2 tasks, found 3"),
    "absurd length": (said(0, honest(1) * (MOST_TASKS + 1)), "rows: must be at most 24576"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_honest_client_says_is_refused_and_changes_nothing(case: str):
    evaluation, words = REFUSED[case]
    assert words in reason(evaluation)


def test_nobody_goes_back_in_time():
    measured = table()
    measured.take([said(2, honest(2))], 2)
    assert reason(said(1, honest(2)), 3, measured) == "after_task: must be from 2 to 3, found 1"


def test_a_name_as_long_as_a_book_is_not_repeated():
    (refused,) = table().take([said(1, honest(1), "x" * 10**6)], 1)
    assert len(refused.client) < 64


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.5, True, "5", None, []])
@pytest.mark.parametrize("part", ["on", "correct", "n"])
def test_what_is_no_whole_number_is_not_even_read(part: str, value: Any):
    with pytest.raises(UserError, match=r"Evaluation cannot hold .* as 'rows'"):
        decode(encode(said(1, changed(3, **{part: value}))), "Evaluation")


numbers = st.integers(-2, 12) | st.integers()
words = st.sampled_from([*PREDICTORS, *PROTOCOLS, ""])
rows = st.tuples(numbers, words, words, numbers, numbers)
evaluations = st.builds(
    Evaluation,
    st.sampled_from(["a", "b", "c"]),
    st.integers(-1, 4),
    st.lists(rows, max_size=4).map(tuple)
    | st.tuples(st.integers(0, 4), st.integers(-1, 11)).map(lambda x: tuple(honest(*x))),
)


@given(st.lists(evaluations, max_size=8))
def test_whatever_is_said_others_stay_as_they_are_and_the_table_can_be_summarised(
    said_by_all: list[Evaluation],
):
    measured = table()
    for slot, evaluation in enumerate(said_by_all):
        others = [row for row in measured.rows if row.client != evaluation.client]
        refused = measured.take([evaluation], slot)
        assert [row for row in measured.rows if row.client != evaluation.client] == others
        assert all(0 <= row.accuracy <= 1 for row in measured.rows)
        assert len({row.place for row in measured.rows}) == len(measured.rows)
        assert bool(refused) or {e.client for e in measured.rows} >= (
            {evaluation.client} if evaluation.rows else set()
        )
    summarise(measured.rows)


@pytest.mark.parametrize("accepted", [(3, 50, 1, 2, 9), (0, 50, 1, 2, 9), (1, 0, 0, 0, 2**60)])
def test_a_choice_of_no_task_so_far_or_of_absurdly_many_items_is_refused(accepted):
    one = Evaluation("a", 0, tuple(honest(3)), accepted)
    assert reason(one).startswith("accepted: must be of a task up to 2")


def test_a_choice_is_handed_out_once():
    measured = table()
    assert measured.take([Evaluation("b", 0, tuple(honest(3)), (1, 50, 4, 6, 9))], 1) == []
    assert measured.take_choices() == [("b", (1, 50, 4, 6, 9))]
    assert measured.take_choices() == []
