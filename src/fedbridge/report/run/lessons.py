"""Who taught whom in one-by-one distillation, in which order, and whether it helped."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedbridge.report.run.folder import AcceptanceEvent, TeachingEvent


class StudentRound(NamedTuple):
    """What one student was taught in one round, in that order, and what it took of it."""

    task: int
    round: int
    student: str
    lessons: list[TeachingEvent]
    choice: AcceptanceEvent | None


class StudentOutcome(NamedTuple):
    """One student's fusions in all: the mean share that it took and what that brought."""

    student: str
    fusions: int
    helped: int
    """Fusions after which it had more validation items right than before."""
    share: float | None
    gain: float | None
    """Mean change of its accuracy on validation items."""


def fusions(
    lessons: Sequence[TeachingEvent], choices: Sequence[AcceptanceEvent]
) -> list[StudentRound]:
    """Return the fusions in which anybody taught, each with its lessons in the order taken.

    A client says only after a task's last round what it took.
    """
    found: dict[tuple[int, int, str], list[TeachingEvent]] = {}
    last: dict[tuple[int, str], int] = {}
    for lesson in lessons:
        found.setdefault((lesson.task, lesson.round, lesson.student), []).append(lesson)
        place = lesson.task, lesson.student
        last[place] = max(last.get(place, 0), lesson.round)
    told = {(choice.task, choice.client): choice for choice in choices}
    return [
        StudentRound(
            *place, given, told.get((task, student)) if round_ == last[task, student] else None
        )
        for place, given in found.items()
        for task, round_, student in [place]
    ]


def outcomes(taught: Sequence[StudentRound], clients: Sequence[str]) -> list[StudentOutcome]:
    """Return what the fusions came to for each student, in the order of clients."""
    return [
        _outcome(client, [fusion for fusion in taught if fusion.student == client])
        for client in ordered({fusion.student for fusion in taught}, clients)
    ]


def mean_weights(lessons: Sequence[TeachingEvent]) -> dict[tuple[str, str], float]:
    """Return the mean weight of the lessons of each (student, teacher); own models are one."""
    given: dict[tuple[str, str], list[float]] = {}
    for lesson in lessons:
        teacher = lesson.student if lesson.own else lesson.teacher
        given.setdefault((lesson.student, teacher), []).append(lesson.weight)
    return {pair: float(np.mean(values)) for pair, values in given.items()}


def ordered(names: set[str], clients: Sequence[str]) -> list[str]:
    """Return names in the order of clients, and any others after them."""
    return [name for name in clients if name in names] + sorted(names - set(clients))


def _outcome(student: str, own: Sequence[StudentRound]) -> StudentOutcome:
    told = [fusion.choice for fusion in own if fusion.choice]
    if not told:
        return StudentOutcome(student, len(own), 0, None, None)
    share = float(np.mean([choice.percent / 100 for choice in told]))
    gains = [choice.after - choice.before for choice in told]
    return StudentOutcome(
        student, len(own), sum(g > 0 for g in gains), share, float(np.mean(gains))
    )
