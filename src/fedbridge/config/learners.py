"""The ways to learn on the client, each with its options."""

from typing import Annotated, Literal

from pydantic import Field

from fedbridge.config.section import Count, Positive, Scale, Section, Weight

Keep = Literal["balanced", "reservoir", "herding"]


class FineTune(Section):
    """Cross entropy on the task's data and nothing else."""

    name: Literal["finetune"] = "finetune"
    classes: Literal["seen", "task"] = "seen"
    """Classes the softmax runs over: all that the client has seen, or the task's only."""


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
    on: Literal["public", "private", "both"] = "public"
    """Inputs on which both distillations are computed."""
    sharpness: Scale = 8.0
    """Factor on the large side's scores before the softmax, where it teaches alone."""
    public_batch: Positive = 64
    """Public items per step."""
    memory: Count = 20
    """Exemplars kept per class in the client's own storage; 0 is the rehearsal-free variant."""
    keep: Keep = "balanced"
    """Which ones: a sample of every class; a sample of all items whatever their class, as many in
    all as the whole stream's classes would have; or those nearest to the class mean (iCaRL)."""
    memory_batch: Positive = 32
    """Exemplars per step."""


Learner = Annotated[FineTune | SMCF, Field(discriminator="name")]
