"""One-by-One Distillation (arXiv 2508.09489): fuse heterogeneous knowledge for each client.

Teachers are other clients' models and the student's own earlier ones. All are known by their
embeddings of the public set alone, so the cost is K embeddings of U and K*m short distillations.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from fedbridge.config.section import Batch, Count, Options, Positive, Rate, Weight
from fedbridge.core.losses import confidence, distance, mass_on
from fedbridge.core.rng import seed_for
from fedbridge.methods.context import SharedContext
from fedbridge.methods.digest import batches
from fedbridge.methods.obod_ablation import Ablation, TeacherSignal, distilled, gap, timetable
from fedbridge.methods.rounds import (
    FusionResult,
    MapJobs,
    PublicPredictions,
    RoundUploads,
    Student,
    TeachingRecord,
)
from fedbridge.methods.spec import Fusion
from fedbridge.models.optimiser import adamw
from fedbridge.models.small.space import as_input
from fedbridge.wire import State


class OBOD(Options):
    """One-by-One Distillation on the public set, for each client personally."""

    name: Literal["obod"] = "obod"
    teachers: Positive = 8
    """Most teachers ``m`` of one student in one round."""
    others: bool = True
    """Whether other clients' models may teach."""
    rounds: Literal["every", "last"] = "last"
    """Whether models are fused in every round or only in the last one of each task."""
    snapshots: Count = 8
    """How many of the client's own models, as they ended the latest tasks, may teach."""
    accept: bool = True
    """Whether a client takes only as much of its fused model as its validation items recommend."""
    anchor: Weight = 1.0
    """Weight that holds the student to its own embedding where it is sure."""
    epochs: Positive = 1
    """Passes over ``U`` per teacher."""
    batch: Batch = 64
    """Public items per step; normalisation layers need two at least."""
    lr: Rate = 0.00025
    """Learning rate of AdamW."""
    ablation: Ablation = Ablation()


@dataclass(frozen=True)
class DistillJob:
    """A student with the teachers chosen for it, in the order in which they are taken."""

    student: Student
    teachers: list[TeacherSignal]
    seed: int
    options: OBOD

    def taught(self) -> list[TeachingRecord]:
        """Return the record of who teaches, in that order."""
        name = self.student.name
        return [
            TeachingRecord(name, t.teacher, t.relevance, t.agreement, t.coverage)
            for t in self.teachers
        ]


def one_by_one(
    round_: RoundUploads, shared: SharedContext, options: OBOD, map_jobs: MapJobs
) -> FusionResult:
    """Distil the chosen teachers into every student, one teacher after the other."""
    if options.rounds == "last" and round_.step.round < shared.config.training.rounds:
        return FusionResult({student.name: student.state for student in round_.students}, [])
    everyone = [student.predictions for student in round_.students]
    jobs = []
    for student in round_.students:
        teachers = choose_teachers(student, everyone, shared, options)
        seed = seed_for(shared.config.seed, "fuse", student.name, *round_.step)
        jobs.append(DistillJob(student, teachers, seed, options))
    states = map_jobs(distil, jobs)
    names = [student.name for student in round_.students]
    records = [record for job in jobs for record in job.taught()]
    return FusionResult(dict(zip(names, states, strict=True)), records)


def choose_teachers(
    student: Student, others: list[PublicPredictions], shared: SharedContext, options: OBOD
) -> list[TeacherSignal]:
    """Return at most ``m`` teachers of a student: the most relevant, the least relevant first."""
    candidates = [k for k in others if options.others and k.name != student.name]
    candidates += student.snapshots[-options.snapshots :] if options.snapshots else ()
    signals = [signal(student.predictions, k, shared, options.ablation) for k in candidates]
    useful = [t for t in signals if t is not None and t.relevance > 0.0]
    best = sorted(useful, key=lambda t: -t.relevance)[: options.teachers]
    if options.ablation.order == "declared":
        return [t for t in useful if t in best]
    return best if options.ablation.order == "best-first" else best[::-1]


def signal(
    student: PublicPredictions, teacher: PublicPredictions, shared: SharedContext, switch: Ablation
) -> TeacherSignal | None:
    """Weigh what a teacher says of each public item; None if it is about fewer than two classes.

    ``w_j(u) = confidence_j(u) * mass_j(u)`` where the teacher puts more than half of its mass on
    classes the student is taught and is more confident than the student, else 0.
    """
    about = set(teacher.classes)
    if switch.classes == "shared":
        about &= set(student.classes)
    if len(about) < 2:
        return None
    device = student.embedding.device
    common = torch.tensor(sorted(about), device=device)
    known = torch.tensor(teacher.classes, device=device)
    theirs = shared.logits(teacher.embedding, known)
    mine = shared.logits(student.embedding, torch.tensor(student.classes, device=device))
    certainty = confidence(theirs)
    weight = certainty.clone() if switch.confidence else torch.ones_like(certainty)
    if switch.mass:
        mass = mass_on(theirs, torch.searchsorted(known, common))
        weight = weight * mass * (mass > 0.5)
    if switch.only_if_more_confident:
        weight = weight * (certainty > confidence(mine))
    best = [shared.logits(k.embedding, common).argmax(1) for k in (teacher, student)]
    agreement = (weight * (best[0] == best[1])).sum() / weight.sum().clamp(min=1e-9)
    return TeacherSignal(teacher.name, teacher.embedding, common, weight, float(agreement))


def distil(shared: SharedContext, job: DistillJob) -> State:
    """Teach one student and return its new state; a pure function, run on any worker."""
    start = {k: v.to(shared.device) for k, v in job.student.state.items()}

    def study(teachers: list[TeacherSignal]) -> State:
        return studied(shared, job, start, teachers)

    return distilled(start, job.teachers, job.options.ablation, study)


def studied(
    shared: SharedContext, job: DistillJob, start: State, teachers: list[TeacherSignal]
) -> State:
    """Take one teacher at a time, held to the own answers where the student is confident."""
    options, mine = job.options, job.student.predictions
    model = shared.small_model(job.student.model, job.student.name)
    model.load_state_dict(start)
    model.train(options.ablation.statistics)
    known = torch.tensor(mine.classes, device=shared.device)
    own = confidence(shared.logits(mine.embedding, known)) * options.anchor
    optimiser = adamw(model.parameters(), options.lr, 0.0)
    generator = torch.Generator().manual_seed(job.seed)
    courses = [batches(shared, options.epochs, options.batch, generator) for _ in teachers]
    for teacher, u in timetable(teachers, courses, options.ablation.order):
        e = model(as_input(shared.public_inputs[u]))
        loss = teacher.weight[u] * gap(shared, teacher, u, e, options.ablation)
        loss = (loss + own[u] * distance(mine.embedding[u], e)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


FUSION = Fusion(
    options=OBOD,
    fuse=one_by_one,
    needs_public_logits=True,
    snapshots=lambda options: options.snapshots > 0,
    accept=lambda options: options.accept,
)
