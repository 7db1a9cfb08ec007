"""One-by-One Distillation (arXiv 2508.09489): fuse heterogeneous knowledge for each client.

Teachers are other clients' models and the student's own earlier ones. All are known by their
embeddings of the public set alone, so the cost is K embeddings of U and K*m short distillations.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fedbridge.config import OBOD
from fedbridge.losses import distance, divergence, mass_on, sureness
from fedbridge.models.commons import Commons
from fedbridge.models.optimiser import adamw
from fedbridge.models.space import as_input
from fedbridge.rng import seed_for
from fedbridge.server.digest import batches
from fedbridge.server.knowledge import Knowledge, Student, Taught
from fedbridge.server.round import Fused, Gathered, Spread
from fedbridge.wire import State


@dataclass(frozen=True)
class Teaching:
    """What one teacher has to say to one student."""

    teacher: str
    embedding: Tensor  # (|U|, P)
    common: Tensor  # class ids that the lesson is about
    weight: Tensor  # (|U|,), how much each item of U counts
    agreement: float

    @property
    def relevance(self) -> float:
        """Mean weight over U: how much of it the teacher can teach this student."""
        return float(self.weight.mean())

    @property
    def reach(self) -> float:
        """Fraction of U on which the teacher has anything to say to this student."""
        return float((self.weight > 0).float().mean())


@dataclass(frozen=True)
class Pupil:
    """A student with the teachers chosen for it, in the order in which they are taken."""

    student: Student
    teachings: list[Teaching]
    seed: int

    def taught(self) -> list[Taught]:
        """Return the record of who teaches, in that order."""
        name = self.student.name
        return [Taught(name, t.teacher, t.relevance, t.agreement, t.reach) for t in self.teachings]


def one_by_one(round_: Gathered, commons: Commons, options: OBOD, spread: Spread) -> Fused:
    """Distil the chosen teachers into every student, one teacher after the other."""
    names = [student.name for student in round_.students]
    if options.rounds == "last" and round_.step.round < commons.config.training.rounds:
        return Fused({student.name: student.state for student in round_.students}, [])
    everyone = [student.knowledge for student in round_.students]
    pupils = []
    for student in round_.students:
        teachers = choose_teachers(student, everyone, commons, options)
        seed = seed_for(commons.config.seed, "fuse", student.name, *round_.step)
        pupils.append(Pupil(student, teachers, seed))
    taught = [record for pupil in pupils for record in pupil.taught()]
    return Fused(dict(zip(names, spread(distil, pupils), strict=True)), taught)


def choose_teachers(
    student: Student, others: list[Knowledge], commons: Commons, options: OBOD
) -> list[Teaching]:
    """Return at most ``m`` teachers of a student, most relevant ones, in the declared order."""
    candidates = [k for k in others if options.others and k.name != student.name]
    candidates += student.snapshots[-options.snapshots :] if options.snapshots else ()
    teachings = [teaching(student.knowledge, k, commons, options) for k in candidates]
    useful = [t for t in teachings if t is not None and t.relevance > 0.0]
    best = sorted(useful, key=lambda t: -t.relevance)[: options.teachers]
    if options.order == "declared":
        return [t for t in useful if t in best]
    return best if options.order == "best-first" else best[::-1]


def teaching(
    student: Knowledge, teacher: Knowledge, commons: Commons, options: OBOD
) -> Teaching | None:
    """Weigh what a teacher says of each public item; None if it is about fewer than two classes.

    ``w_j(u) = sureness_j(u) * mass_j(u)`` where the teacher puts more than half of its mass on
    classes the lesson is about and is surer than the student, else 0.
    """
    device = student.embedding.device
    about = set(teacher.classes)
    if options.classes == "shared":
        about &= set(student.classes)
    if len(about) < 2:
        return None
    common = torch.tensor(sorted(about), device=device)
    known = torch.tensor(teacher.classes, device=device)
    theirs = commons.logits(teacher.embedding, known)
    mine = commons.logits(student.embedding, torch.tensor(student.classes, device=device))
    sure = sureness(theirs)
    weight = sure.clone() if options.sureness else torch.ones_like(sure)
    if options.mass:
        mass = mass_on(theirs, torch.searchsorted(known, common))
        weight = weight * mass * (mass > 0.5)
    if options.surer:
        weight = weight * (sure > sureness(mine))
    agree = _best(teacher, common, commons) == _best(student, common, commons)
    agreement = float((weight * agree).sum() / weight.sum().clamp(min=1e-9))
    return Teaching(teacher.name, teacher.embedding, common, weight, agreement)


def _best(model: Knowledge, classes: Tensor, commons: Commons) -> Tensor:
    return commons.logits(model.embedding, classes).argmax(1)


def distil(commons: Commons, pupil: Pupil) -> State:
    """Teach one student and return its new state; a pure function, run on any worker."""
    options = commons.config.fusion
    assert isinstance(options, OBOD)
    start = {k: v.to(commons.device) for k, v in pupil.student.state.items()}
    if options.form == "separate":
        ends = [_study(commons, pupil, start, [t], options) for t in pupil.teachings]
        return _add_differences(start, ends)
    teachings = pupil.teachings
    if options.form == "averaged" and teachings:
        teachings = [_average(teachings, pupil.student.knowledge)]
    end = _study(commons, pupil, start, teachings, options)
    return {k: v.cpu() for k, v in end.items()}


def _study(
    commons: Commons, pupil: Pupil, start: State, teachings: list[Teaching], options: OBOD
) -> State:
    """Take one teacher at a time, held to the own answers where the student is sure."""
    student = pupil.student
    model = commons.small_model(student.model, student.name)
    model.load_state_dict(start)
    model.train(options.statistics)
    mine = student.knowledge
    known = torch.tensor(mine.classes, device=commons.device)
    own = sureness(commons.logits(mine.embedding, known)) * options.anchor
    optimiser = adamw(model.parameters(), options.rate, 0.0)
    generator = torch.Generator().manual_seed(pupil.seed)
    for lesson, u in timetable(commons, teachings, options, generator):
        e = model(as_input(commons.public_inputs[u]))
        loss = lesson.weight[u] * _gap(commons, lesson, u, e, options)
        loss = (loss + own[u] * distance(mine.embedding[u], e)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def timetable(
    commons: Commons, teachings: list[Teaching], options: OBOD, generator: torch.Generator
) -> Iterator[tuple[Teaching, Tensor]]:
    """Yield who teaches what, step by step; every teacher passes ``epochs`` times over U."""
    courses = [batches(commons, options.epochs, options.batch, generator) for _ in teachings]
    if options.order == "in-turn":  # so that nobody has the last word
        yield from (
            pair
            for turn in zip(*courses, strict=True)
            for pair in zip(teachings, turn, strict=True)
        )
    else:
        yield from (
            (lesson, u) for lesson, course in zip(teachings, courses, strict=True) for u in course
        )


def _gap(commons: Commons, lesson: Teaching, u: Tensor, e: Tensor, options: OBOD) -> Tensor:
    if options.compare == "embedding":
        return distance(lesson.embedding[u], e)
    theirs = commons.logits(lesson.embedding[u], lesson.common)
    return divergence(theirs, commons.logits(e, lesson.common))


def _average(teachings: list[Teaching], mine: Knowledge) -> Teaching:
    """Merge all teachers into one whose embedding is their weighted mean (the usual ensemble)."""
    total = torch.stack([t.weight for t in teachings])  # (m, |U|)
    mean = (total[:, :, None] * torch.stack([t.embedding for t in teachings])).sum(0)
    embedding = torch.nn.functional.normalize(mean, dim=1)
    common = torch.cat([t.common for t in teachings]).unique()
    return Teaching("all", embedding, common, total.max(0).values, 1.0)


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
