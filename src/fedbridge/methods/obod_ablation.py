"""What of One-by-One Distillation can be switched off or done otherwise, to see what it brings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedbridge.config.section import Section
from fedbridge.core.losses import distance, divergence
from fedbridge.methods.context import SharedContext
from fedbridge.wire import State


class Ablation(Section):
    """Parts of the method that only a study of it switches."""

    order: Literal["in-turn", "best-last", "best-first", "declared"] = "in-turn"
    """Whether teachers take turns, a batch each, the least relevant first; or each has all its
    passes at a time, in the order of relevance or as declared."""
    form: Literal["one-by-one", "averaged", "separate"] = "one-by-one"
    """Sequential; all teachers' distributions averaged at once; or each apart, then the
    mean difference added (TAKFL, NeurIPS 2024)."""
    compare: Literal["classes", "embedding"] = "classes"
    """Whether the distribution over shared classes or the embedding is matched."""
    classes: Literal["teacher", "shared"] = "teacher"
    """Classes that are taught: all that the teacher has met, or those both have."""
    confidence: bool = True
    """Weight what a teacher says by its confidence on the item."""
    mass: bool = True
    """Weight by the teacher's mass on classes the student knows, and drop it below one half."""
    only_if_more_confident: bool = True
    """Let a teacher teach an item only where it is more confident than the student."""
    statistics: bool = True
    """Whether normalisation layers adapt their running statistics to ``U`` meanwhile."""


@dataclass(frozen=True)
class TeacherSignal:
    """What one teacher has to say to one student."""

    teacher: str
    embedding: Tensor  # (|U|, P)
    common: Tensor  # class ids that are taught
    weight: Tensor  # (|U|,), how much each item of U counts
    agreement: float

    @property
    def relevance(self) -> float:
        """Mean weight over U: how much of it the teacher can teach this student."""
        return float(self.weight.mean())

    @property
    def coverage(self) -> float:
        """Fraction of U on which the teacher has anything to say to this student."""
        return float((self.weight > 0).float().mean())


def distilled(
    start: State,
    teachers: list[TeacherSignal],
    switch: Ablation,
    study: Callable[[list[TeacherSignal]], State],
) -> State:
    """Return the student's new state, by the form of distillation that is chosen."""
    if switch.form == "separate":
        return _add_differences(start, [study([teacher]) for teacher in teachers])
    if switch.form == "averaged" and teachers:
        teachers = [_average(teachers)]
    return {k: v.cpu() for k, v in study(teachers).items()}


def timetable(
    teachers: list[TeacherSignal], courses: list[Iterator[Tensor]], order: str
) -> Iterator[tuple[TeacherSignal, Tensor]]:
    """Yield who teaches which items of U, step by step; each teacher has a course of batches."""
    if order == "in-turn":  # so that nobody has the last word
        yield from (
            pair for turn in zip(*courses, strict=True) for pair in zip(teachers, turn, strict=True)
        )
    else:
        yield from (
            (teacher, u) for teacher, course in zip(teachers, courses, strict=True) for u in course
        )


def gap(
    shared: SharedContext, teacher: TeacherSignal, u: Tensor, e: Tensor, switch: Ablation
) -> Tensor:
    """Return how far embeddings ``e (B, P)`` of items u are from what a teacher says, ``(B,)``."""
    if switch.compare == "embedding":
        return distance(teacher.embedding[u], e)
    theirs = shared.logits(teacher.embedding[u], teacher.common)
    return divergence(theirs, shared.logits(e, teacher.common))


def _average(teachers: list[TeacherSignal]) -> TeacherSignal:
    """Merge all teachers into one whose embedding is their weighted mean (the usual ensemble)."""
    total = torch.stack([t.weight for t in teachers])  # (m, |U|)
    mean = (total[:, :, None] * torch.stack([t.embedding for t in teachers])).sum(0)
    embedding = torch.nn.functional.normalize(mean, dim=1)
    common = torch.cat([t.common for t in teachers]).unique()
    return TeacherSignal("all", embedding, common, total.max(0).values, 1.0)


def _add_differences(start: State, ends: list[State]) -> State:
    """Return the start plus the mean difference of the ends (TAKFL, NeurIPS 2024)."""
    result = {}
    for key, value in start.items():
        learnt = ends and value.is_floating_point()
        change = torch.stack([end[key] - value for end in ends]).mean(0) if learnt else 0
        moved = value + change
        # what is infinite stands for nothing, and does not move
        result[key] = (torch.where(value.isfinite(), moved, value) if learnt else moved).cpu()
    return result
