"""The large side, the small models, and how long and where they train."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedbridge.config.section import Batch, Count, Positive, Rate, Scale, Section, Weight

SIDE = 96
"""Pixels a side for an FM that asks for none in particular."""


class Large(Section):
    """The large side: a frozen foundation model (FM) and the head on top of it."""

    model: str = "patches"
    """An entry of ``fedbridge list models``, or one's own: ``transformers:DIR-OR-NAME``,
    ``sentence-transformers:DIR-OR-NAME``, ``timm:DIR-OR-NAME``, ``onnx:FILE``,
    ``callable:MODULE:FUNCTION``."""
    size: Positive | Literal["auto"] = "auto"
    """Side in pixels to which images are resized for the FM; texts ignore it. ``auto``: the side
    that one's own FM was made for, where it says so; else 96."""
    batch: Positive = 64
    """Items that the FM encodes at once."""
    head: Literal["analytic", "nearest-mean", "probe", "prototypes", "tail-anchors", "none"] = (
        "analytic"
    )
    """Ridge regression from the sums G and H; the nearest class mean from H and counts; a linear
    probe that clients train by gradient and the server averages; a prototype of each class that
    they train, averaged by how near it is to the class's items (PILoRA); trained vectors beside
    the features and a classifier for every task, both the client's own, aligned by prototypes that
    the server selects (FedTA); or no large side at all."""
    scope: Literal["federation", "client"] = "federation"
    """Whose sums, or trained parts, make the head: all clients', or (isolated baseline) its own."""
    least: Positive = 1
    """Fewest own items of a class whose sum leaves a client; of fewer it is held back until there
    are more. With 1 the sum of a class's only item is that item's features."""
    most: Annotated[float, Field(ge=1.0, allow_inf_nan=False)] = 5.0
    """How many times more a client's sums of a task may weigh than the median of the others', in
    items and in squares of features; what is more is scaled down. It bounds what one client that
    lies can do to everybody's head."""
    projection: Count = 0
    """Units of the random projection with a ReLU before the head; 0 leaves it out."""
    regularisation: Annotated[tuple[Scale, ...], Field(min_length=1)] = (
        0.003,
        0.01,
        0.03,
        0.1,
        0.3,
    )
    """Candidates for lambda, in units of the mean eigenvalue of G; validation data decide."""
    own: Annotated[tuple[Weight, ...], Field(min_length=1)] = (0.0, 1.0, 3.0, 10.0, 30.0)
    """Candidates for how many times more a client's own sums count in its own head; ``[0.0]``
    gives everybody the same head; validation data decide."""
    absorb: Weight = 0.0
    """Weight of the small models' soft labels on ``U`` in the head (OBOD with the large side as
    student); 0 switches it off. A probe ignores it."""
    probe_epochs: Positive = 2
    """Passes over the task's features per round, of ``training.batch`` items a step; for a head
    that is trained by gradient."""
    probe_rate: Rate = 0.005
    """Learning rate of AdamW for such a head."""
    anchors: Positive = 200
    """Tail anchors of a client; ``tail-anchors`` only."""
    contrast: Weight = 1.0
    """Weight of the contrast of mixed features with everybody's prototypes; ``tail-anchors``
    only."""
    attract: Weight = 0.1
    """Weight of how far the chosen keys lie from what they were chosen for, of tail anchors and of
    the prompts of a ``pool``."""
    threshold: Scale = 0.25
    """Mean cosine with all prototypes below which a class's own is selected for good;
    ``tail-anchors`` only."""
    compact: Weight = 0.001
    """Weight of an item's squared distance to its class's prototype; ``prototypes`` only."""
    orthogonal: Weight = 0.5
    """Weight of what a task's low-rank matrices have in common with those of earlier tasks;
    ``prototypes`` with ``tuning = "lora"`` only."""
    tuning: Literal["none", "lora", "dora", "ia3", "prompt", "pool"] = "none"
    """What is trained inside the FM itself, with a probe, prototypes or tail anchors: nothing;
    low-rank matrices beside the queries and values of its attention, as they are or with their
    magnitudes (``dora``); factors of these queries and values (``ia3``); tokens put beside those of
    every input; or a pool of prompts, of which each input gets those that suit it. Each epoch runs
    the FM forwards and backwards, and every item is encoded anew after every round."""
    tuning_size: Positive = 4
    """Rank of the matrices, or number of tokens, those of each prompt in a pool; ``ia3`` has no
    size. With ``prototypes`` the tasks share the rank: each trains its own part of the matrices."""
    tuning_rate: Rate = 0.001
    """Learning rate of AdamW for them."""
    pool: Positive = 10
    """Prompts in the pool; ``tuning = "pool"`` only."""
    picks: Positive = 5
    """Prompts of the pool that an input gets."""

    @property
    def side(self) -> int:
        """Return the side in pixels at which sites keep pictures for the FM."""
        if self.size != "auto":
            return self.size
        return 224 if ":" in self.model else SIDE

    @property
    def from_sums(self) -> bool:
        """Whether the head is made from sums that a client uploads once per task."""
        return self.head in ("analytic", "nearest-mean")

    @property
    def by_gradient(self) -> bool:
        """Whether clients train the head by gradient and upload it."""
        return self.head in ("probe", "prototypes", "tail-anchors")

    @property
    def absorbs(self) -> bool:
        """Whether what the small models say of ``U`` may join those sums."""
        return self.from_sums and self.absorb > 0.0

    @model_validator(mode="after")
    def _tuning_suits_the_head(self) -> Self:
        fitting = TUNINGS.get(self.head, ("none",))
        if self.tuning not in fitting:
            heads = [head for head, known in TUNINGS.items() if self.tuning in known]
            raise ValueError(
                f'large.tuning: must be {_either(fitting)} where large.head is "{self.head}" '
                f'("{self.tuning}" needs {_either(heads)}), found "{self.tuning}"'
            )
        return self

    @model_validator(mode="after")
    def _picks_are_of_the_pool(self) -> Self:
        if self.picks > self.pool:
            raise ValueError(
                f"large.picks: must be at most large.pool, {self.pool}, found {self.picks}"
            )
        return self


TUNINGS = {
    "probe": ("none", "lora", "dora", "ia3", "prompt", "pool"),
    "prototypes": ("none", "lora"),
    "tail-anchors": ("none", "pool"),
}
"""By ``large.head``, where it is not "none" alone."""


def _either(words: Sequence[str]) -> str:
    return " or ".join(f'"{word}"' for word in words)


class Small(Section):
    """The small models and the shared space they all map into."""

    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("cnn", "mobile", "mixer")
    """Entries of ``fedbridge list models``, or one's own: ``MODULE:FUNCTION``,
    ``transformers:TYPE-OR-DIR``, ``timm:NAME``. Client k takes the k-th, starting over at the
    end."""
    dimension: Positive = 256
    """Dimension ``P`` of the shared space."""
    temperature: Scale = 16.0
    """Factor ``tau`` in the logits ``tau * <e, a_c>``."""
    warm_epochs: Count = 15
    """Passes over ``U`` of the warm start, in which each architecture learns the FM's embeddings
    of it (no labels) before the first task; 0 leaves it out, as does ``large.head = "none"``."""
    warm_rate: Rate = 0.01
    """Highest learning rate of AdamW in the warm start; it rises and falls once."""


class Training(Section):
    """How long and how fast every client trains."""

    rounds: Positive = 2
    """Rounds (exchanges with the server) per task."""
    epochs: Positive = 2
    """Passes over the task's data per round."""
    batch: Batch = 64
    """Private items per step; normalisation layers need two at least."""
    rate: Rate = 0.004
    """Learning rate of AdamW."""
    weight_decay: Weight = 0.001
    """Weight decay of AdamW."""


class Engine(Section):
    """Where and with how many processes the experiment runs; no number depends on it."""

    kind: Literal["local", "flower"] = "local"
    """``local``: clients in processes of this machine; ``flower``: clients in Flower's simulation,
    or, in a deployment, wherever they are."""

    workers: Count | Literal["auto"] = "auto"
    """Processes that train clients; 0 trains in the main process; ``auto``: cores, at most K."""
    threads: Positive = 1
    """Threads per process; more than one seldom pays for small models."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the FM's encoding; small models always compute in float32. ``auto``: bfloat16
    on a GPU that has it where all data are in one place, else float32, so that all sites agree."""
    checkpoints: Positive = 2
    """Number of checkpoints kept in the run folder."""
    checkpoint_seconds: Weight = 0.0
    """Least seconds from one checkpoint to the next, the last step apart, which always has one;
    0: one after every step. Sites keep few states, so that ``kind = "flower"`` takes 0 only."""
    deadline: Scale = 3600.0
    """Seconds that clients of a deployment have to appear, and to answer in each exchange."""
    quorum: Positive | Literal["all"] = "all"
    """Fewest clients that must answer in an exchange for a deployment to go on without the rest;
    of fewer clients that are asked, all must."""
    largest: Positive = 1024
    """Largest message in MiB that a deployment takes from a client."""

    @model_validator(mode="after")
    def _sites_find_every_step(self) -> Self:
        if self.kind == "flower" and self.checkpoint_seconds:
            raise ValueError(
                "engine.checkpoint_seconds: must be 0 with Flower, whose clients keep few states, "
                f"found {self.checkpoint_seconds:g}"
            )
        return self
