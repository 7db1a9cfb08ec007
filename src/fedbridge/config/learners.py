"""The ways to learn on the client, each with its options."""

from typing import Annotated, Literal

from pydantic import Field

from fedbridge.config.section import Batch, Count, Positive, Scale, Section, Weight

Keep = Literal["balanced", "reservoir", "herding"]
Classes = Literal["seen", "task"]
Where = Literal["public", "private", "both"]
Decay = Annotated[float, Field(ge=0.0, le=1.0)]


class FineTune(Section):
    """Cross entropy on the task's data and nothing else."""

    name: Literal["finetune"] = "finetune"
    classes: Classes = "seen"
    """Classes the softmax runs over: all that the client has seen, or the task's only."""


class EWC(Section):
    """Elastic Weight Consolidation: what earlier tasks need is held where it was."""

    name: Literal["ewc"] = "ewc"
    weight: Weight = 0.3
    """Weight ``lambda`` of the penalty."""
    decay: Decay = 1.0
    """Factor ``gamma`` on the importance of earlier tasks whenever one is added."""
    normalise: bool = True
    """Divide a task's importances by their mean, so that a task that is known for certain, whose
    gradients vanish, is held as firmly as others."""
    fisher_items: Positive = 200
    """Most items of a task from which the importance of parameters is taken."""
    classes: Classes = "task"
    """Classes the softmax runs over: all that the client has seen, or the task's only."""


class LwF(Section):
    """Learning without Forgetting: the task's items, and what the earlier self said of them."""

    name: Literal["lwf"] = "lwf"
    weight: Weight = 1.0
    """Weight ``lambda_o`` of distillation from the own model as it ended the previous task."""
    temperature: Scale = 2.0
    """Divisor ``T`` of both models' logits in that distillation."""
    on: Where = "private"
    """Inputs on which it is computed; the paper has private ones only."""
    public_batch: Positive = 64
    """Public items per step, if they are used."""
    classes: Classes = "task"
    """Classes of the cross entropy's softmax: all that the client has seen, or the task's only."""


class Replay(Section):
    """Experience replay: cross entropy on the task's items and on remembered ones."""

    name: Literal["replay"] = "replay"
    memory: Count = 20
    """Exemplars kept per class in the client's own storage; 0 is fine-tuning."""
    keep: Keep = "balanced"
    """Which ones: a sample of every class; a sample of all items whatever their class, as many in
    all as the whole stream's classes would have; or those nearest to the class mean (iCaRL)."""
    memory_batch: Positive = 64
    """Exemplars per step."""


class DERPP(Section):
    """Dark Experience Replay++: remembered items with their labels and their first answers."""

    name: Literal["derpp"] = "derpp"
    alpha: Weight = 0.1
    """Weight of the squared distance from the logits of the time of remembering."""
    beta: Weight = 1.0
    """Weight of cross entropy on remembered items."""
    memory: Count = 20
    """Exemplars in the client's own storage per class of its whole stream."""
    keep: Keep = "reservoir"
    """Which ones, as for ``replay``."""
    memory_batch: Positive = 64
    """Exemplars per step and term; each term has its own draw."""


class GLFC(Section):
    """Global-Local Forgetting Compensation, its clients' part: old and new classes in balance."""

    name: Literal["glfc"] = "glfc"
    compensation: Weight = 0.5
    """Weight of cross entropy with class-aware gradient compensation."""
    relation: Weight = 0.25
    """Weight of class-semantic relation distillation, a sum over classes."""
    memory: Count = 20
    """Exemplars in the client's own storage per class of its whole stream."""
    keep: Keep = "herding"
    """Which ones, as for ``replay``."""
    memory_batch: Positive = 64
    """Exemplars per step."""


class SMCF(Section):
    """Small Model Continual Fine-tuning: every term has a weight, 0 switches it off."""

    name: Literal["smcf"] = "smcf"
    previous: Weight = 1.0
    """Weight of distillation from the own model as it ended the previous task."""
    large: Weight = 1.0
    """Weight of distillation from the large side."""
    guide: Literal["large", "together"] = "large"
    """What the large side teaches: its own distribution, or its calibrated mixture with the
    small model as the round began."""
    ahead: bool = True
    """Whether the large side also teaches classes that other clients know and this one has not
    met yet."""
    on: Where = "both"
    """Inputs on which both distillations are computed."""
    sharpness: Scale = 16.0
    """Factor on the large side's scores before the softmax, where it teaches alone."""
    public_batch: Positive = 64
    """Public items per step."""
    memory: Count = 20
    """Exemplars in the client's own storage per class of its whole stream, shared by the classes
    met so far; 0 is the rehearsal-free variant."""
    keep: Keep = "balanced"
    """Which ones: a sample of every class; a sample of all items whatever their class, as many in
    all as the whole stream's classes would have; or those nearest to the class mean (iCaRL)."""
    memory_batch: Positive = 64
    """Exemplars per step."""
    rehearsal: Weight = 1.0
    """Weight of cross entropy on them."""
    relation: Weight = 0.25
    """Weight of GLFC's class-semantic relation distillation on private items and exemplars."""


class TargetLearner(Section):
    """The clients' part of TARGET: synthetic pictures stand for what was learnt before."""

    name: Literal["target"] = "target"
    weight: Weight = 1.0
    """Weight of distillation from the own model as it ended the previous task, on the pictures."""
    batch: Batch = 64
    """Synthetic pictures per step; normalisation layers need two at least."""
    classes: Classes = "task"
    """Classes of the cross entropy's softmax: all that the client has seen, or the task's only."""


class FedWeITLearner(Section):
    """The clients' part of FedWeIT: a base that all share, and what each task adds to it."""

    name: Literal["fedweit"] = "fedweit"
    sparse: Weight = 0.0001
    """Weight ``lambda_1`` of the sum of magnitudes of what tasks add to the base."""
    retain: Weight = 100.0
    """Weight ``lambda_2`` of half the squared change in the models of earlier tasks."""
    classes: Classes = "task"
    """Classes the softmax runs over: all that the client has seen, or the task's only."""


Learner = Annotated[
    FineTune | EWC | LwF | Replay | DERPP | GLFC | SMCF | TargetLearner | FedWeITLearner,
    Field(discriminator="name"),
]
