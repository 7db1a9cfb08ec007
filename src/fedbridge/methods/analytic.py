"""The analytic head over the frozen FM: ridge regression from sums, personal to each client."""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from fedbridge.config.section import Scale, Weight
from fedbridge.methods.context import SharedContext
from fedbridge.methods.heads import TrainableHead
from fedbridge.methods.spec import Head
from fedbridge.methods.sums import FromSums, SummedUp, sum_faults
from fedbridge.models.calibration import sharpened_loss
from fedbridge.models.statistics import (
    Array,
    SufficientStatistics,
    UnsolvableError,
    packed,
    unpacked,
)
from fedbridge.wire import State, Step

Place = tuple[int, int]  # of the candidates in force: for lambda, and for v
PERFECT = 1e-3
"""A loss that is as good as none: the least loss of a head that is always right is 0, and what is
left of it only tells where the search for the best sharpness ended."""


class Analytic(FromSums):
    """Ridge regression from the sums G and H."""

    head: Literal["analytic"] = "analytic"
    regularisation: Annotated[tuple[Scale, ...], Field(min_length=1)] = (
        0.003,
        0.01,
        0.03,
        0.1,
        0.3,
    )
    """Candidates for lambda, in units of the mean eigenvalue of G; validation data decide."""
    personal_weights: Annotated[tuple[Weight, ...], Field(min_length=1)] = (
        0.0,
        1.0,
        3.0,
        10.0,
        30.0,
    )
    """Candidates for how many times more a client's own sums count in its own head; ``[0.0]``
    gives everybody the same head; validation data decide."""


class Candidates(NamedTuple):
    """What a client chooses from."""

    strengths: tuple[float, ...]
    """Of lambda, in units of the mean eigenvalue of G."""
    own: tuple[float, ...]
    """Of v, how many times more the client's own sums count."""


class RidgeHead:
    """The analytic head ``(G + v G_k + lambda I) W = H + v H_k``, personal to client k.

    G and H are everybody's sums, G_k and H_k the client's own, which count ``v`` times more.
    Lambda and v have the least class-balanced loss on the client's validation items, found by
    climbing: at first from the best v for the middle lambda, later from the choice in force. v is
    large where clients are domains of their own, 0 where they are shards of one. Columns of
    classes that the client has no sums of are everybody's.

    Sums that give no head, which no items have, are left aside: the ones before stay.
    """

    def __init__(
        self,
        shared: SharedContext,
        scope: Literal["federation", "client"],
        candidates: Candidates,
        solve: Callable[[SufficientStatistics, float], Array],
    ) -> None:
        self.device = shared.device
        self.alone = scope == "client"
        self.strengths, self.more = candidates
        self.solve = solve
        nothing = SufficientStatistics.zero(shared.lift.dimension, len(shared.classes))
        self.total, self.own = nothing, nothing
        self.behind = False
        self.choice = self._first
        self._solved: dict[tuple[int, float], Tensor] = {}
        self.settled = self._limits == (1, 1)

    @property
    def weights(self) -> Tensor:
        """Return the head in force, ``(M, C)``."""
        personal = self._head(self.choice)
        if self.alone:
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

    def add(self, sums: SufficientStatistics) -> None:
        """Add the client's own sums of a new task, if they are finite."""
        together = (self.own + sums).rounded()  # as exact as what a checkpoint keeps
        if together.finite:
            self.own = together
            self._forget()

    def scores(self, features: Tensor) -> Tensor:
        """Return ``features @ weights``, ``(n, C)``."""
        return features @ self.weights

    def trainable(self, labels: Tensor, seen: Tensor, step: Step) -> list[TrainableHead]:
        """Return none: sums are all it needs."""
        return []

    def select_hyperparameters(self, features: Tensor, labels: Tensor, seen: Tensor) -> None:
        """Climb to the choice with the least loss."""
        columns = torch.searchsorted(seen, labels)
        losses: dict[Place, float] = {}

        def loss(choice: Place) -> float:
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
    def _first(self) -> Place:
        return len(self.strengths) // 2, 0

    @property
    def _limits(self) -> Place:
        return len(self.strengths), 1 if self.alone else len(self.more)

    def _go_on(self, total: SufficientStatistics, before: SufficientStatistics) -> None:
        """Solve from sums of everybody's, from those ``before`` if these give no head."""
        self.total, self.behind = total, False
        self._forget()
        try:
            if not self.alone:
                self._solution(self.choice[0], 0.0)
        except UnsolvableError:
            self.total, self.behind = before, True
            self._forget()

    def _forget(self) -> None:
        self._solved, self.settled = {}, self._limits == (1, 1)

    def _head(self, choice: Place) -> Tensor:
        return self._solution(choice[0], self.more[choice[1]])

    def _solution(self, strength: int, more: float) -> Tensor:
        if (strength, more) not in self._solved:
            sums = self.own if self.alone else self.total
            if more and not self.alone:
                sums = self.total + self.own.scaled(more)
            solution = torch.from_numpy(self._solve(sums, strength)).float()
            self._solved[strength, more] = solution.to(self.device)
        return self._solved[strength, more]

    def _solve(self, sums: SufficientStatistics, strength: int) -> Array:
        """Return a head ``(M, C)``; where a ridge is too weak for these sums, a stronger one's."""
        weakest, *stronger = sorted(
            one for one in self.strengths if one >= self.strengths[strength]
        )
        try:
            return self.solve(sums, weakest)
        except UnsolvableError:
            if not stronger:
                raise
            return self._solve(sums, self.strengths.index(stronger[0]))


def _filled(weights: Tensor) -> Tensor:
    """Return which columns of ``(M, C)`` are not all zero."""
    return (weights.abs().sum(0) > 0).nonzero()[:, 0]


def _climb(starts: list[Place], limits: Place, loss: Callable[[Place], float]) -> Place:
    """Return where no step in one setting lowers the loss, coming from the best of ``starts``."""
    here, best = (-1, -1), min(starts, key=loss)
    while best != here:
        here = best
        i, j = here
        steps = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
        inside = [s for s in steps if 0 <= s[0] < limits[0] and 0 <= s[1] < limits[1]]
        best = min([here, *inside], key=loss)
    return here


def ridge(sums: SufficientStatistics, strength: float) -> Array:
    """Solve ``(G + lambda I) W = H`` for ``W (M, C)``, lambda in units of the mean eigenvalue."""
    return sums.ridge(strength)


def on_client(shared: SharedContext, options: Analytic) -> RidgeHead:
    """Return a client's head."""
    candidates = Candidates(options.regularisation, options.personal_weights)
    return RidgeHead(shared, options.scope, candidates, ridge)


def on_server(shared: SharedContext, clients: tuple[str, ...], options: Analytic) -> SummedUp:
    """Return the server's side, which adds up G, H and counts, and has no items to choose on."""
    middle = options.regularisation[len(options.regularisation) // 2]
    return SummedUp(shared, clients, options, lambda sums: ridge(sums, middle), gram=True)


HEAD = Head(
    options=Analytic,
    client=on_client,
    server=on_server,
    sums=("gram", "cross", "counts"),
    upload_faults=sum_faults,
    solo=True,
)
