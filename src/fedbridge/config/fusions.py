"""The ways to fuse on the server, each with its options."""

from typing import Annotated, Literal

from pydantic import Field

from fedbridge.config.section import Batch, Count, Positive, Rate, Scale, Section, Weight


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
    order: Literal["in-turn", "best-last", "best-first", "declared"] = "in-turn"
    """Whether teachers take turns, a batch each, the least relevant first; or each has all its
    passes at a time, in the order of relevance or as declared."""
    form: Literal["one-by-one", "averaged", "separate"] = "one-by-one"
    """Sequential; all teachers' distributions averaged at once; or each apart, then the
    mean difference added (TAKFL, NeurIPS 2024)."""
    compare: Literal["classes", "embedding"] = "classes"
    """Whether the distribution over shared classes or the embedding is matched."""
    classes: Literal["teacher", "shared"] = "teacher"
    """Classes that a lesson is about: all that the teacher has met, or those both have."""
    sureness: bool = True
    """Weight a teacher's lesson by its sureness on the item."""
    mass: bool = True
    """Weight by the teacher's mass on classes the student knows, and drop it below one half."""
    surer: bool = True
    """Let a teacher teach an item only where it is surer than the student."""
    accept: bool = True
    """Whether a client takes only as much of its fused model as its validation items recommend."""
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


class FedAvg(Section):
    """The average of all models, weighted by their training items."""

    name: Literal["fedavg"] = "fedavg"
    groups: bool = False
    """Average within groups of equal architecture; otherwise all models must be of one."""


class FedProx(Section):
    """FedAvg whose clients are held to where their round began."""

    name: Literal["fedprox"] = "fedprox"
    proximal: Weight = 0.01
    """Weight ``mu`` of half the squared distance to the model as the round began."""
    groups: bool = False
    """Average within groups of equal architecture; otherwise all models must be of one."""


class FedProto(Section):
    """Class prototypes are averaged, and models stay personal."""

    name: Literal["fedproto"] = "fedproto"
    pull: Scale = 1.0
    """Weight ``lambda`` of an embedding's squared distance to the prototype of its class."""


class Digest(Section):
    """How long and how fast models are trained on ``U``."""

    epochs: Positive = 1
    """Passes over ``U`` per round."""
    batch: Batch = 64
    """Public items per step; normalisation layers need two at least."""
    rate: Rate = 0.00025
    """Learning rate of AdamW."""


class FedMD(Digest):
    """Every model is trained towards the mean answer of all on ``U``."""

    name: Literal["fedmd"] = "fedmd"


class FedDF(Digest):
    """Averages within each architecture, trained towards the mean answer of all on ``U``."""

    name: Literal["feddf"] = "feddf"


class FedET(Digest):
    """A large head on the FM's features of ``U`` learns from all models, and they from it."""

    name: Literal["fedet"] = "fedet"
    diversity: Weight = 0.05
    """Weight of what models say that do not agree with the ensemble."""
    large_epochs: Positive = 10
    """Passes over ``U`` per round of the large head."""
    large_rate: Rate = 0.001
    """Learning rate of AdamW for the large head."""


class TARGET(Section):
    """FedAvg, and pictures synthesised after every task from the average alone."""

    name: Literal["target"] = "target"
    groups: bool = False
    """Average within groups of equal architecture; otherwise all models must be of one."""
    items: Positive = 300
    """Pictures synthesised after each task and sent to every client."""
    synthesis: Batch = 100
    """Pictures that are synthesised at a time."""
    steps: Positive = 20
    """Steps of the generator, and then of its opponent, for each such batch."""
    rate: Rate = 0.002
    """Learning rate of Adam for the generator."""
    match: Weight = 1.0
    """Weight of the distance to the statistics that normalisation layers have recorded."""
    differ: Weight = 1.0
    """Weight of the divergence between the average and an opponent that learns from the pictures,
    which the generator seeks where both are of one opinion."""


class FedWeIT(Section):
    """The base is averaged, and what a task added to it is sent to the other clients."""

    name: Literal["fedweit"] = "fedweit"
    groups: bool = False
    """Average within groups of equal architecture; otherwise all models must be of one."""


Fusion = Annotated[
    Alone | OBOD | FedAvg | FedProx | FedProto | FedMD | FedDF | FedET | TARGET | FedWeIT,
    Field(discriminator="name"),
]
