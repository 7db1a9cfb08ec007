"""Who taught whom: fusions in their order, what they brought, and mean weights, by hand."""

import pytest

from fedbridge.report.run.folder import AcceptanceEvent, TeachingEvent
from fedbridge.report.run.lessons import StudentOutcome, fusions, mean_weights, outcomes


def lesson(
    student: str, teacher: str, weight: float, task: int = 1, round_: int = 1
) -> TeachingEvent:
    return TeachingEvent(task=task, round=round_, student=student, teacher=teacher, weight=weight)


def choice(client: str, task: int, percent: int, own: int, taken: int) -> AcceptanceEvent:
    return AcceptanceEvent(client=client, task=task, percent=percent, own=own, taken=taken, n=10)


LESSONS = [
    lesson("a", "c", 0.1, round_=1),
    lesson("a", "b", 0.2, round_=2),
    lesson("a", "c", 0.6, round_=2),
    lesson("b", "a", 0.4, round_=2),
    lesson("a", "a@task-1", 0.9, task=2, round_=2),
    lesson("a", "c", 0.3, task=2, round_=2),
]


def test_fusions_have_their_lessons_in_order_and_the_last_ones_choice() -> None:
    found = fusions(LESSONS, [choice("a", 1, 50, 4, 7), choice("c", 1, 100, 1, 1)])
    assert [(f.task, f.round, f.student, [x.teacher for x in f.lessons]) for f in found] == [
        (1, 1, "a", ["c"]),
        (1, 2, "a", ["b", "c"]),
        (1, 2, "b", ["a"]),
        (2, 2, "a", ["a@task-1", "c"]),
    ]
    # a client says at a task's end what it took; c was taught by nobody
    assert [f.choice and f.choice.percent for f in found] == [None, 50, None, None]


def test_outcomes_by_hand() -> None:
    told = [choice("a", 1, 50, 4, 7), choice("a", 2, 0, 5, 5)]
    a, b = outcomes(fusions(LESSONS, told), ["b", "a", "c"])[::-1]
    assert (a.student, a.fusions, a.helped) == ("a", 3, 1)
    assert (a.share, a.gain) == (pytest.approx(0.25), pytest.approx(0.15))
    assert b == StudentOutcome("b", 1, 0, None, None)


def test_own_snapshots_teach_under_the_students_name() -> None:
    assert mean_weights([*LESSONS, lesson("b", "large", 1.0), lesson("a", "a@task-2", 0.7)]) == {
        ("a", "c"): pytest.approx(1.0 / 3),
        ("a", "b"): 0.2,
        ("b", "a"): 0.4,
        ("a", "a"): pytest.approx(0.8),
        ("b", "large"): 1.0,
    }


def test_a_client_whose_name_begins_like_a_students_is_no_snapshot() -> None:
    assert not lesson("a", "a@tasks", 0.5).own
    assert not lesson("a", "ab@task-1", 0.5).own
    assert lesson("a", "a@task-1", 0.5).own
