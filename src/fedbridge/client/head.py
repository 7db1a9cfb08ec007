"""The head of the large side as a client has it: solved from sums, sent by the server, its own."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from fedbridge.client.fedta import TailAnchored
from fedbridge.client.pilora import Prototypes
from fedbridge.client.study import Probe, Study
from fedbridge.evaluation import sharpened_loss
from fedbridge.methods.context import SharedContext
from fedbridge.models.head import Array, Sums, UnsolvableError, packed, unpacked
from fedbridge.wire import State, Step

Choice = tuple[int, int]  # places in large.regularisation and large.own
PERFECT = 1e-3
"""A loss that is as good as none: the least loss of a head that is always right is 0, and what is
left of it only tells where the search for the best sharpness ended."""


class Head(Protocol):
    """What a client asks of a head."""

    @property
    def known(self) -> Tensor:
        """Return the classes of which something is known, ascending."""

    @property
    def settled(self) -> bool:
        """Return whether nothing is left to choose."""

    @property
    def behind(self) -> bool:
        """Return whether what the server sent last gave no head, so that the one before stays."""

    def take(self, adapter: State) -> None:
        """Take in what the server sent of the large side."""

    def scores(self, features: Tensor) -> Tensor:
        """Return scores ``(n, C)`` of features ``(n, M)``; 0 for a class that is not known."""

    def add(self, sums: Sums) -> None:
        """Add the client's own sums of a new task."""

    def studies(self, labels: Tensor, seen: Tensor, step: Step) -> list[Study]:
        """Return what is trained by gradient on a task's items, of classes ``labels``, if any."""

    def settle(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
        """Choose what is open on validation features ``(n, M)`` of classes among ``seen``."""

    def state(self) -> State:
        """Return all that the next round needs."""

    def load(self, state: State) -> None:
        """Take up what ``state`` returned."""


class Sent:
    """A head ``(M, C)`` that the server sends with every message; all zero until it does."""

    settled = True
    behind = False

    def __init__(
        self,
        commons: SharedContext,
        study: Callable[[SharedContext, Tensor, Tensor, Step], Study] | None = None,
    ) -> None:
        self.commons = commons
        self.study = study
        size = commons.lift.dimension, len(commons.classes)
        self.weights = torch.zeros(size, device=commons.device)

    @property
    def known(self) -> Tensor:
        """Return the classes with a column that is not all zero."""
        return _filled(self.weights)

    def take(self, adapter: State) -> None:
        """Go on with the head that was sent, if there is one."""
        self.weights = adapter.get("head", self.weights).to(self.weights.device)

    def scores(self, features: Tensor) -> Tensor:
        """Return ``features @ weights``, ``(n, C)``."""
        return features @ self.weights

    def add(self, sums: Sums) -> None:
        """Leave sums alone."""

    def studies(self, labels: Tensor, seen: Tensor, step: Step) -> list[Study]:
        """Return the one study that starts at the head in force, if there is any."""
        return [self.study(self.commons, self.weights, seen, step)] if self.study else []

    def settle(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
        """Choose nothing."""

    def state(self) -> State:
        """Return the head that was sent last: whoever only predicts gets no further message."""
        return {"head": self.weights}

    def load(self, state: State) -> None:
        """Take up the head."""
        self.take(state)


class Solved:
    """The analytic head ``(G + v G_k + lambda I) W = H + v H_k``, personal to client k.

    G and H are everybody's sums, G_k and H_k the client's own, which count ``v`` times more.
    Lambda and v have the least class-balanced loss on the client's validation items, found by
    climbing: at first from the best v for the middle lambda, later from the choice in force. v is
    large where clients are domains of their own, 0 where they are shards of one. Columns of
    classes that the client has no sums of are everybody's.

    Sums that give no head, which no items have, are left aside: the ones before stay.
    """

    def __init__(self, commons: SharedContext) -> None:
        self.settings = commons.config.large
        self.device = commons.device
        nothing = Sums.zero(commons.lift.dimension, len(commons.classes))
        self.total, self.own = nothing, nothing
        self.behind = False
        self.choice = self._first
        self._solved: dict[tuple[int, float], Tensor] = {}
        self.settled = self.settings.head == "nearest-mean"

    @property
    def weights(self) -> Tensor:
        """Return the head in force, ``(M, C)``."""
        personal = self._head(self.choice)
        if self.settings.scope == "client":
            return personal
        met = torch.from_numpy(self.own.counts > 0).to(self.device)
        return torch.where(met, personal, self._solution(self.choice[0], 0.0))

    @property
    def known(self) -> Tensor:
        """Return the classes of which there are sums."""
        return _filled(self.weights)

    def take(self, adapter: State) -> None:
        """Go on with new sums of everybody's, if there are any and they give a head."""
        if adapter:
            self._go_on(unpacked(adapter), self.total)

    def add(self, sums: Sums) -> None:
        """Add the client's own sums of a new task, if they are finite."""
        together = (self.own + sums).rounded()  # as exact as what a checkpoint keeps
        if together.finite:
            self.own = together
            self._forget()

    def scores(self, features: Tensor) -> Tensor:
        """Return ``features @ weights``, ``(n, C)``."""
        return features @ self.weights

    def studies(self, labels: Tensor, seen: Tensor, step: Step) -> list[Study]:
        """Return none: sums are all it needs."""
        return []

    def settle(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
        """Climb to the choice with the least loss."""
        columns = torch.searchsorted(seen, labels)
        losses: dict[Choice, float] = {}

        def loss(choice: Choice) -> float:
            if choice not in losses:
                scores = features @ self._head(choice)[:, seen]
                losses[choice] = max(PERFECT, sharpened_loss(scores, columns))
            return losses[choice]

        starts = [self.choice]
        if self.choice == self._first:  # a small own weight may be worse than none, a large better
            starts = [(self._first[0], own) for own in range(self._limits[1])]
        if loss(self.choice) > PERFECT:  # else none can be better
            self.choice = _climb(starts, self._limits, loss)
        self.settled = True

    def state(self) -> State:
        """Return the sums and the choice."""
        return {
            **{f"total/{k}": v for k, v in packed(self.total).items()},
            **{f"own/{k}": v for k, v in packed(self.own).items()},
            "choice": torch.tensor([*self.choice, int(self.settled), int(self.behind)]),
        }

    def load(self, state: State) -> None:
        """Take up the sums and the choice."""
        for name in ("total", "own"):
            parts = {k.partition("/")[2]: v for k, v in state.items() if k.startswith(f"{name}/")}
            setattr(self, name, unpacked(parts))
        i, j, settled, *behind = state["choice"].tolist()
        self.choice = i, j
        self._go_on(self.total, self.own)
        self.settled, self.behind = bool(settled), self.behind or any(behind)

    @property
    def _first(self) -> Choice:
        return len(self.settings.regularisation) // 2, 0

    @property
    def _limits(self) -> Choice:
        own = 1 if self.settings.scope == "client" else len(self.settings.own)
        return len(self.settings.regularisation), own

    def _go_on(self, total: Sums, before: Sums) -> None:
        """Solve from sums of everybody's, from those ``before`` if these give no head."""
        self.total, self.behind = total, False
        self._forget()
        try:
            if self.settings.scope == "federation":
                self._solution(self.choice[0], 0.0)
        except UnsolvableError:
            self.total, self.behind = before, True
            self._forget()

    def _forget(self) -> None:
        self._solved, self.settled = {}, self.settings.head == "nearest-mean"

    def _head(self, choice: Choice) -> Tensor:
        return self._solution(choice[0], self.settings.own[choice[1]])

    def _solution(self, strength: int, more: float) -> Tensor:
        if (strength, more) not in self._solved:
            sums = self.total
            if self.settings.scope == "client":
                sums = self.own
            elif more and self.settings.head == "analytic":
                sums = self.total + self.own.scaled(more)
            solution = torch.from_numpy(self._solve(sums, strength)).float()
            self._solved[strength, more] = solution.to(self.device)
        return self._solved[strength, more]

    def _solve(self, sums: Sums, strength: int) -> Array:
        """Return a head ``(M, C)``; where a ridge is too weak for these sums, a stronger one's."""
        if self.settings.head == "nearest-mean":
            return sums.nearest_mean()
        weakest, *stronger = sorted(
            one
            for one in self.settings.regularisation
            if one >= self.settings.regularisation[strength]
        )
        try:
            return sums.ridge(weakest)
        except UnsolvableError:
            if not stronger:
                raise
            return self._solve(sums, self.settings.regularisation.index(stronger[0]))


HEADS: dict[str, Callable[[SharedContext], Head]] = {
    "analytic": Solved,
    "nearest-mean": Solved,
    "probe": partial(Sent, study=Probe),
    "prototypes": partial(Sent, study=Prototypes),
    "tail-anchors": TailAnchored,
    "none": Sent,
}
"""By ``large.head``."""


def _filled(weights: Tensor) -> Tensor:
    """Return which columns of ``(M, C)`` are not all zero."""
    return (weights.abs().sum(0) > 0).nonzero()[:, 0]


def _climb(starts: list[Choice], limits: Choice, loss: Callable[[Choice], float]) -> Choice:
    """Return where no step in one setting lowers the loss, coming from the best of ``starts``."""
    here, best = (-1, -1), min(starts, key=loss)
    while best != here:
        here = best
        i, j = here
        steps = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        inside = [s for s in steps if 0 <= s[0] < limits[0] and 0 <= s[1] < limits[1]]
        best = min([here, *inside], key=loss)
    return here
