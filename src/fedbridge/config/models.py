"""The large side, the small models, and how long and where they train."""

from typing import Annotated, Literal

from pydantic import Field

from fedbridge.config.section import Batch, Count, Positive, Rate, Scale, Section, Weight


class Large(Section):
    """The large side: a frozen foundation model (FM) and the head on top of it."""

    model: str = "patches"
    """An entry of ``fedbridge list models``, or ``transformers:DIR-OR-NAME``, ``onnx:FILE``,
    ``callable:MODULE:FUNCTION``."""
    size: Positive = 96
    """Side in pixels to which images are resized for the FM; texts ignore it."""
    batch: Positive = 64
    """Items that the FM encodes at once."""
    head: Literal["analytic", "nearest-mean", "none"] = "analytic"
    """Ridge regression from the sums G and H; the nearest class mean from H and counts; or no
    large side at all."""
    scope: Literal["federation", "client"] = "federation"
    """Whose sums the head is solved from: all clients', or (isolated baseline) its own."""
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
    absorb: Annotated[tuple[Weight, ...], Field(min_length=1)] = (0.0, 0.3)
    """Candidates for the weight of the small models' soft labels on ``U`` in the head (OBOD with
    the large side as student); ``[0.0]`` switches it off; validation data decide."""


class Small(Section):
    """The small models and the shared space they all map into."""

    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("cnn", "mobile", "mixer")
    """Entries of ``fedbridge list models``; client k takes the k-th, starting over at the end."""
    dimension: Positive = 256
    """Dimension ``P`` of the shared space."""
    temperature: Scale = 16.0
    """Factor ``tau`` in the logits ``tau * <e, a_c>``."""
    start: Literal["scratch", "warm"] = "scratch"
    """``warm``: each architecture first learns the FM's embeddings of ``U`` (no labels)."""
    warm_epochs: Positive = 20
    """Passes over ``U`` of the warm start."""


class Training(Section):
    """How long and how fast every client trains."""

    rounds: Positive = 2
    """Rounds (exchanges with the server) per task."""
    epochs: Positive = 2
    """Passes over the task's data per round."""
    batch: Batch = 64
    """Private items per step; normalisation layers need two at least."""
    rate: Rate = 0.002
    """Learning rate of AdamW."""
    weight_decay: Weight = 0.001
    """Weight decay of AdamW."""


class Engine(Section):
    """Where and with how many processes the experiment runs; no number depends on it."""

    workers: Count | Literal["auto"] = "auto"
    """Processes that train clients; 0 trains in the main process; ``auto``: cores, at most K."""
    threads: Positive = 1
    """Threads per process; more than one seldom pays for small models."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the FM's encoding; small models always compute in float32."""
    checkpoints: Positive = 2
    """Number of checkpoints kept in the run folder."""
