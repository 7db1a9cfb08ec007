"""The large side, the small models, and how long and where they train."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedbridge.config.section import Batch, Count, Positive, Rate, Scale, Section, Weight

SIDE = 96
"""Pixels a side for an FM that asks for none in particular."""


@dataclass(frozen=True)
class Tuning:
    """What is trained inside the foundation model (FM) itself, and how."""

    kind: Literal["lora", "dora", "ia3", "prompt", "pool"]
    size: int
    """Rank of matrices, or number of tokens."""
    lr: float
    """Learning rate of AdamW."""
    pool: int = 0
    """Prompts of a pool."""
    top_k: int = 0
    """Those of them that an input gets."""
    attract: float = 0.0
    """Weight of how far the keys of these lie from what they were chosen for."""


class Large(Section):
    """What all large sides share: a frozen foundation model (FM), and some head on top of it."""

    embeds: ClassVar[bool] = True
    """Whether the FM encodes items at all."""
    model: str = "patches"
    """An entry of ``fedbridge list models``, or one's own: ``transformers:DIR-OR-NAME``,
    ``sentence-transformers:DIR-OR-NAME``, ``timm:DIR-OR-NAME``, ``onnx:FILE``,
    ``callable:MODULE:FUNCTION``."""
    size: Positive | Literal["auto"] = "auto"
    """Side in pixels to which images are resized for the FM; texts ignore it. ``auto``: the side
    that one's own FM was made for, where it says so; else 96."""
    batch: Positive = 64
    """Items that the FM encodes at once."""
    head: str = ""
    """What stands on the FM: an entry of ``fedbridge list heads``, or ``MODULE:NAME``."""
    scope: Literal["federation", "client"] = "federation"
    """Whose sums, or trained parts, make the head: all clients', or (isolated baseline) its own."""
    min_class_items: Positive = 1
    """Fewest own items of a class whose sum leaves a client; of fewer it is held back until there
    are more. With 1 the sum of a class's only item is that item's features."""
    projection: Count = 0
    """Units of the random projection with a ReLU before the head; 0 leaves it out."""

    @property
    def side(self) -> int:
        """Return the side in pixels at which sites keep pictures for the FM."""
        if self.size != "auto":
            return self.size
        return 224 if ":" in self.model else SIDE

    @property
    def tuned(self) -> Tuning | None:
        """Return what clients train inside the FM; None where it stays frozen."""
        return None

    @property
    def absorbs(self) -> float:
        """Return the weight of what the large side learns from the small models' answers on U."""
        return 0.0


class TrainedLarge(Large):
    """What large sides share of which clients train the head, and perhaps a part of the FM."""

    probe_epochs: Positive = 2
    """Passes over the task's features per round, of ``training.batch`` items a step."""
    probe_lr: Rate = 0.005
    """Learning rate of AdamW for the head."""
    tuning: Literal["none", "lora", "dora", "ia3", "prompt", "pool"] = "none"
    """What is trained inside the FM itself: nothing; low-rank matrices beside the queries and
    values of its attention, as they are or with their magnitudes (``dora``); factors of these
    queries and values (``ia3``); tokens put beside those of every input; or a pool of prompts, of
    which each input gets those that suit it. Each epoch runs the FM forwards and backwards, and
    every item is encoded anew after every round."""
    tuning_size: Positive = 4
    """Rank of the matrices, or number of tokens, those of each prompt in a pool; ``ia3`` has no
    size."""
    tuning_lr: Rate = 0.001
    """Learning rate of AdamW for them."""

    @property
    def tuned(self) -> Tuning | None:
        """Return what clients train inside the FM; None where it stays frozen."""
        if self.tuning == "none":
            return None
        return Tuning(self.tuning, self.tuning_size, self.tuning_lr)


class PooledLarge(TrainedLarge):
    """The same where ``tuning = "pool"`` is possible."""

    pool: Positive = 10
    """Prompts in the pool; ``tuning = "pool"`` only."""
    top_k: Positive = 5
    """Prompts of the pool that an input gets."""
    attract: Weight = 0.1
    """Weight of how far the chosen keys lie from what they were chosen for."""

    @property
    def tuned(self) -> Tuning | None:
        """Return what clients train inside the FM; None where it stays frozen."""
        tuned = super().tuned
        return tuned and replace(tuned, pool=self.pool, top_k=self.top_k, attract=self.attract)

    @model_validator(mode="after")
    def _picks_are_of_the_pool(self) -> Self:
        if self.top_k > self.pool:
            raise ValueError(
                f"large.top_k: must be at most large.pool, {self.pool}, found {self.top_k}"
            )
        return self


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
    warm_lr: Rate = 0.01
    """Highest learning rate of AdamW in the warm start; it rises and falls once."""


class Training(Section):
    """How long and how fast every client trains."""

    rounds: Positive = 2
    """Rounds (exchanges with the server) per task."""
    epochs: Positive = 2
    """Passes over the task's data per round."""
    batch: Batch = 64
    """Private items per step; normalisation layers need two at least."""
    lr: Rate = 0.004
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
