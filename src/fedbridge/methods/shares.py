"""How much one client's sums may count among everybody's.

Nobody can tell whether a client really has the items that its sums are of. So no client's sums of a
task weigh more than so many times the median of what those of the others weigh, in items and in
squares of features; what weighs more is scaled down as a whole, and so stays sums of items. The
same clients in the same rounds get the same shares, in whatever order their uploads come.
"""

from collections.abc import Collection
from statistics import median
from typing import NamedTuple

from fedbridge.methods.rounds import Noted
from fedbridge.wire import State


class Load(NamedTuple):
    """What a client says that its sums weigh, of all of its tasks so far."""

    tasks: int = 0
    items: float = 0.0
    energy: float = 0.0
    """Squares of features summed; without G, the lengths of the classes' sums in H."""

    def plus(self, parts: State, tasks: int) -> "Load":
        """Return what it is with the sums of some more tasks, as they travel."""
        gram, cross, size = parts["gram"], parts["cross"], len(parts["cross"])
        places = [row * size - row * (row - 1) // 2 for row in range(size)]
        energy = gram[places].double().sum() if len(gram) else cross.double().norm(dim=0).sum()
        items = self.items + float(parts["counts"].double().sum())
        return Load(self.tasks + tasks, items, self.energy + float(energy))

    def less(self, other: "Load") -> "Load":
        """Return what has come since another one."""
        energy = self.energy - other.energy
        return Load(self.tasks - other.tasks, self.items - other.items, energy)


class WeightLimit(NamedTuple):
    """By what a client's sums are scaled, and why."""

    factor: float
    what: str = ""
    found: float = 0.0
    most: float = 0.0

    def noted(self, client: str) -> Noted:
        """Return what is noted where they are."""
        reason = (
            f"large.most: its sums weigh {self.found:.3g} in {self.what}, where {self.most:.3g} is "
            f"the most by what the others send; they count {self.factor:.3g} times what they say"
        )
        return Noted("capped", client, reason, {"factor": self.factor})


def share_of(own: Load, others: Collection[Load], most: float) -> WeightLimit:
    """Return by what sums of a load are scaled, 1 where they weigh no more than they may.

    ``most`` is in multiples of the median, over the others who have any items, of a task's load.
    Without others nothing is too much.
    """
    shares = [WeightLimit(1.0)]
    if known := [other for other in others if other.items]:
        for what in ("items", "energy"):
            usual = median(getattr(other, what) / other.tasks for other in known)
            limit, found = most * own.tasks * usual, getattr(own, what)
            if found > limit:
                told = "items" if what == "items" else "squares of features"
                shares.append(WeightLimit(limit / found, told, found, limit))
    return min(shares, key=lambda share: share.factor)
