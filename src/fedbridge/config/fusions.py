"""The ways to fuse on the server, each with its options."""

from typing import Annotated, Literal

from pydantic import Field

from fedbridge.config.section import Batch, Count, Positive, Rate, Section, Weight


class Alone(Section):
    """No fusion: every client gets back what it uploaded."""

    name: Literal["none"] = "none"


class OBOD(Section):
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
    order: Literal["best-last", "best-first", "declared"] = "best-last"
    """Order in which the teachers are taken, by relevance or as declared."""
    form: Literal["one-by-one", "averaged", "separate"] = "one-by-one"
    """Sequential; all teachers' distributions averaged at once; or each apart, then the
    mean difference added (TAKFL, NeurIPS 2024)."""
    compare: Literal["classes", "embedding"] = "classes"
    """Whether the distribution over shared classes or the embedding is matched."""
    sureness: bool = True
    """Weight a teacher's lesson by its sureness on the item."""
    mass: bool = True
    """Weight by the teacher's mass on classes the student knows, and drop it below one half."""
    surer: bool = True
    """Let a teacher teach an item only where it is surer than the student."""
    belief: bool = False
    """Weight by the large side's belief that the item is of a class both know, drop below half."""
    statistics: bool = True
    """Whether normalisation layers adapt their running statistics to ``U`` meanwhile."""
    anchor: Weight = 1.0
    """Weight that holds the student to its own embedding where it is sure."""
    epochs: Positive = 1
    """Passes over ``U`` per teacher."""
    batch: Batch = 64
    """Public items per step; normalisation layers need two at least."""
    rate: Rate = 0.00025
    """Learning rate of AdamW."""


Fusion = Annotated[Alone | OBOD, Field(discriminator="name")]
