"""A linear probe on the FM's features, which clients train by gradient and the server averages.

Where the FM is tuned, the part of it that is trained goes the same way. Heads of other methods
that are trained by gradient begin with what stands here.
"""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedbridge.config.models import PooledLarge, TrainedLarge
from fedbridge.core.files import file_name
from fedbridge.core.losses import cross_entropy
from fedbridge.core.states import read_state
from fedbridge.methods.context import SharedContext
from fedbridge.methods.heads import TrainableHead
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.methods.spec import Head
from fedbridge.models.fm.tuning import Part, tunable
from fedbridge.models.statistics import SufficientStatistics
from fedbridge.wire import State, Step, Upload


class Probe(PooledLarge):
    """A linear probe that clients train by gradient and the server averages."""

    head: Literal["probe"] = "probe"


class LinearProbe:
    """A linear probe: cross entropy over the seen classes."""

    tunes = True

    def __init__(
        self, shared: SharedContext, options: TrainedLarge, head: Tensor, seen: Tensor, step: Step
    ) -> None:
        self.epochs, self.lr = options.probe_epochs, options.probe_lr
        self.seen = seen
        self.weights = nn.Parameter(head * shared.sharpness)

    @property
    def learnt(self) -> list[nn.Parameter]:
        """Return the weights ``(M, C)``."""
        return [self.weights]

    def loss(self, features: Tensor, labels: Tensor, part: Part) -> Tensor:
        """Return the cross entropy of features ``(B, M)`` of classes ``(B,)``."""
        logits = (features @ self.weights)[:, self.seen]
        return cross_entropy(logits, torch.searchsorted(self.seen, labels))

    def hold(self, labels: Tensor, part: Part) -> None:
        """Let everything move."""

    def trained(self, features: Callable[[], Tensor], labels: Tensor) -> State:
        """Return the head."""
        return {"head": self.weights}


MakeTrainable = Callable[[SharedContext, Any, Tensor, Tensor, Step], TrainableHead]
"""Makes what is trained of shared context, options, the head ``(M, C)``, seen classes and step."""


class ReceivedHead:
    """A head ``(M, C)`` that the server sends with every message; all zero until it does."""

    settled = True
    behind = False

    def __init__(
        self, shared: SharedContext, options: TrainedLarge, training: MakeTrainable
    ) -> None:
        self.shared, self.options, self.training = shared, options, training
        size = shared.lift.dimension, len(shared.classes)
        self.weights = torch.zeros(size, device=shared.device)

    @property
    def known(self) -> Tensor:
        """Return the classes with a column that is not all zero."""
        return (self.weights.abs().sum(0) > 0).nonzero()[:, 0]

    def take(self, adapter: State) -> None:
        """Go on with the head that was sent, if there is one."""
        self.weights = adapter.get("head", self.weights).to(self.weights.device)

    def scores(self, features: Tensor) -> Tensor:
        """Return ``features @ weights``, ``(n, C)``."""
        return features @ self.weights

    def add(self, sums: SufficientStatistics) -> None:
        """Leave sums alone."""

    def trainable(self, labels: Tensor, seen: Tensor, step: Step) -> list[TrainableHead]:
        """Return the one training, which starts at the head in force."""
        return [self.training(self.shared, self.options, self.weights, seen, step)]

    def select_hyperparameters(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
        """Choose nothing."""

    def state(self) -> State:
        """Return the head that was sent last: whoever only predicts gets no further message."""
        return {"head": self.weights}

    def load(self, state: State) -> None:
        """Take up the head."""
        self.take(state)


class Averaged:
    """A linear probe on the FM and, where it is tuned, the trained part of the FM itself.

    Both are averaged as in FedAvg (AISTATS 2017, algorithm 1), weighted by training items;
    averaging LoRA's two matrices apart, as FedIT (ICASSP 2024) and PILoRA (ECCV 2024) do. With
    ``large.scope = "client"`` every client keeps its own.
    """

    def __init__(
        self, shared: SharedContext, clients: tuple[str, ...], options: TrainedLarge
    ) -> None:
        self.shared, self.options = shared, options
        own = options.scope == "client"
        size = (shared.lift.dimension, len(shared.classes))
        self.parts: dict[str, State] = {
            name: {"head": torch.zeros(size)} for name in (clients if own else ("",))
        }
        self._sums: dict[str, State] = {}
        self._weights: dict[str, int] = {}

    @cached_property
    def trained(self) -> State:
        """Return the head ``(M, C)`` and the trained part of the FM, as they were at first."""
        head = {"head": torch.zeros(self.shared.lift.dimension, len(self.shared.classes))}
        if not self.options.tuned:
            return head
        return head | tunable(self.options, self.shared.device, self.shared.config.seed).fresh

    def adapter(self, client: str) -> State:
        """Return the head, its logits over their sharpness, and the trained part of the FM."""
        part = self.parts[self._key(client)]
        return {**part, "head": part["head"] / self.shared.sharpness}

    def absorb(self, upload: Upload) -> None:
        """Add what a client trained to the sums, weighted by its training items."""
        key = self._key(upload.client)
        if not upload.adapter or not upload.num_examples:
            return
        sums = self._sums.setdefault(key, {})
        for name, tensor in upload.adapter.items():
            sums[name] = sums.get(name, 0) + upload.num_examples * tensor.double()
        self._weights[key] = self._weights.get(key, 0) + upload.num_examples

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Replace every part by the mean of what came in; the small models teach it nothing."""
        for key, sums in self._sums.items():
            self.parts[key] = {k: (v / self._weights[key]).float() for k, v in sums.items()}
        self._sums, self._weights = {}, {}
        return []

    def save(self, folder: Path) -> None:
        """Write all parts into the folder."""
        arrays = {
            f"{_of_file(key)}/{k}": v for key, part in self.parts.items() for k, v in part.items()
        }
        save_file({k: v.contiguous() for k, v in arrays.items()}, folder / "large.safetensors")

    def load(self, folder: Path) -> None:
        """Take up what ``save`` wrote."""
        named = {_of_file(key): key for key in self.parts}
        self.parts = {key: {} for key in self.parts}
        for name, tensor in read_state(folder / "large.safetensors").items():
            key, _, part = name.partition("/")
            self.parts[named[key]][part] = tensor

    def _key(self, client: str) -> str:
        return client if self.options.scope == "client" else ""


def _of_file(key: str) -> str:
    """Return what arrays of a client are called in a file; those of all have no client's name."""
    return file_name(key) if key else ""


HEAD = Head(
    options=Probe,
    client=partial(ReceivedHead, training=LinearProbe),
    server=Averaged,
    lr=lambda options: {"probe_lr": options.probe_lr},
)
