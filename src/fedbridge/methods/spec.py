"""What a method is: plain values and functions that say all that clients and server do for it.

A learner is what clients do with a task, a fusion what the server does with their models. Every
field but the first two has a default that means: nothing special.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from fedbridge.config import Settings
from fedbridge.config.models import Large
from fedbridge.config.section import Options
from fedbridge.methods.context import OwnItems, SharedContext, TrainContext
from fedbridge.methods.exchange import WHOLE, Exchange
from fedbridge.methods.heads import ClientHead, ServerHead
from fedbridge.methods.rounds import FusionResult, MapJobs, RoundUploads
from fedbridge.models.calibration import Mixture
from fedbridge.wire import State, Upload

Keep = Literal["balanced", "reservoir", "herding"]


@dataclass(frozen=True)
class Exemplars:
    """What a client remembers: items of earlier tasks, in its own storage only."""

    per_class: int = 0
    """How many, for each class of its whole stream."""
    keep: Keep = "balanced"
    """Which ones: a sample of every class; a sample of all items, whatever their class; or those
    nearest to the class mean (iCaRL)."""


NO_EXEMPLARS = Exemplars()


def leave(context: TrainContext, options: Any) -> None:
    """Take nothing along from a task."""


def agree(options: Any, settings: Settings) -> str | None:
    """Be content with whatever the other settings are."""
    return None


@dataclass(frozen=True)
class Learner:
    """A way to learn on a client; functions get its options."""

    options: type[Options]
    """The class of its settings."""
    learn: Callable[[TrainContext, Any], None]
    """Trains the context's model in place for one round."""
    end_task: Callable[[TrainContext, Any], None] = leave
    """After a task's last round: puts into ``context.notes`` what later tasks will need."""
    exemplars: Callable[[Any], Exemplars] = lambda options: NO_EXEMPLARS
    """What the client remembers when a task has ended: ``context.memory`` of later tasks."""
    needs_old_model: bool = False
    """Whether it asks what the former own model says (``ItemBatch.old_embeddings``)."""
    teach_unseen: Callable[[Any], bool] = lambda options: False
    """Whether the large side teaches classes, too, that this client has not met yet."""
    mixture_teaches: Callable[[Any], bool] = lambda options: False
    """Whether the teacher is the calibrated mixture of both sides instead of the large side."""
    sharpness: Callable[[Any], float] = lambda options: Mixture.large
    """Factor that makes logits of the large side's scores where it teaches alone."""
    task_model: Callable[[State, int], State] | None = None
    """Gives of the notes the model that answers for an own earlier task; None: one answers for
    all."""
    exchange: Exchange = WHOLE
    """What it sends to a fusion that names the same ``Exchange``."""
    check: Callable[[Any, Settings], str | None] = agree
    """Says which other setting does not fit its options, ``"a.b: must be ..., found ..."``."""


@dataclass(frozen=True)
class Extra:
    """What clients upload for a fusion besides their models: named arrays, in float32."""

    shapes: Callable[[SharedContext, Any], dict[str, tuple[int, ...]]]
    """The shape of each array; the server takes in these and no others."""
    make: Callable[[OwnItems, Any], State]
    """Makes them on the client after each of its rounds."""
    check: Callable[[Upload, SharedContext, Any], Iterator[str]] = lambda *_: iter(())
    """Yields what is wrong with the values of ``upload.extra``, shapes, types and infinities apart,
    which are looked at before."""


@dataclass(frozen=True)
class Fusion:
    """A way to fuse on the server; functions get its options."""

    options: type[Options]
    """The class of its settings."""
    fuse: Callable[[RoundUploads, SharedContext, Any, MapJobs], FusionResult]
    """Makes of a round's uploads what every client goes on from."""
    needs_public_logits: bool = False
    """Whether it asks the models what they say of the public set."""
    shared_init: bool = False
    """Whether all clients of an architecture begin with the same weights, as averages need."""
    pictures_only: bool = False
    """Whether it makes inputs, which it can for pictures only."""
    snapshots: Callable[[Any], bool] = lambda options: False
    """Whether it asks for the clients' own models as they ended earlier tasks."""
    accept: Callable[[Any], bool] = lambda options: False
    """Whether a client takes only as much of its fused model as its validation items recommend."""
    proximal: Callable[[Any], float] = lambda options: 0.0
    """Weight that holds clients to the model with which their round began."""
    loss: Callable[[State, Any, Tensor, Tensor], Tensor] | None = None
    """A term in each client's loss on labels: of what the fusion shared, its options, embeddings
    ``(B, P)`` and labels ``(B,)``."""
    extra: Extra | None = None
    """What clients upload for it besides their models."""
    exchange: Exchange = WHOLE
    """What it is sent by a learner that names the same ``Exchange``."""
    check: Callable[[Any, Settings], str | None] = agree
    """Says which other setting does not fit its options, ``"a.b: must be ..., found ..."``."""


SumName = Literal["gram", "cross", "counts"]


def find_nothing(upload: Upload, whole: bool, options: Any) -> Iterator[str]:
    """Have nothing to say against an upload whose arrays are as they must be."""
    return iter(())


@dataclass(frozen=True)
class Head:
    """What stands on the foundation model (FM); functions get the head's own options last."""

    options: type[Large]
    """The class of its settings, and of those of the FM below it."""
    client: Callable[[SharedContext, Any], ClientHead]
    """Makes what a client has of it."""
    server: Callable[[SharedContext, tuple[str, ...], Any], ServerHead]
    """Makes what the server has of it, for clients of these names."""
    sums: tuple[SumName, ...] = ()
    """Which sums of a task's features each client uploads, once."""
    sent: tuple[str, ...] = ("head",)
    """What the server sends of it by name; all else that it sends is the trained part of the FM."""
    upload_faults: Callable[[Upload, bool, Any], Iterator[str]] = find_nothing
    """Yields what is wrong with the values of what an upload holds for it; names, shapes, types,
    magnitudes and infinities are looked at before. True: sums must be of all items counted."""
    linear: bool = True
    """Whether all its scores are ``features @ W``, so that a client's predictor can hold it."""
    solo: bool = False
    """Whether it works in a client by itself, without a server."""
    lr: Callable[[Any], dict[str, float]] = lambda options: {}
    """The learning rate of what clients train, by its option, named where that diverges."""
    check: Callable[[Any, Settings], str | None] = agree
    """Says which other setting does not fit its options, ``"a.b: must be ..., found ..."``."""


Method = Learner | Fusion | Head
