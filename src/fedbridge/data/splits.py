"""Groups divided once, for everybody, into test, public, validation and training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Scenario
from fedbridge.data.dataset import Dataset
from fedbridge.rng import rng_for

Indices = NDArray[np.int64]
TRAIN, VALIDATION, TEST, PUBLIC = range(4)


@dataclass(frozen=True, eq=False)
class Split:
    """Item indices of each part, each ``(n,)`` and ascending; no group is in two parts."""

    train: Indices
    validation: Indices
    test: Indices
    public: Indices


def split_items(
    dataset: Dataset, settings: Scenario, cells: Indices, need: Indices, seed: int
) -> Split:
    """Divide the groups by the fractions of ``settings``, within every stratum.

    A cell holds the items that the same clients may use: ``cells`` ``(N,)`` names each item's,
    ``need`` ``(cells,)`` counts its clients. Where chance leaves a needed cell without a test
    item, or with fewer validation items than clients, further groups are moved there.
    """
    _, group = np.unique(dataset.groups, return_inverse=True)
    total = int(group.max(initial=-1)) + 1
    # from here on a group is called by its random rank, so "the first n" are n random ones
    rank = rng_for(seed, "scenario", "groups").permutation(total)[group]
    strata = np.zeros(total, dtype=np.int64)
    strata[rank] = _stratum_of_items(dataset, group)
    part = np.full(total, TRAIN)
    plan = (
        (TEST, settings.test, np.minimum(need, 1)),
        (PUBLIC, settings.public / (1.0 - settings.test), np.zeros_like(need)),
        (VALIDATION, settings.validation, need),
    )
    for name, fraction, demand in plan:
        _take_fraction(part, strata, name, fraction)
        _top_up(part, rank, cells, name, demand)
    return Split(*(np.flatnonzero(part[rank] == name) for name in range(4)))


def _stratum_of_items(dataset: Dataset, group: Indices) -> Indices:
    # by class where every group has one only (emoji), else by domain (fonts), else all in one
    for attribute in (dataset.labels, dataset.domains):
        _, first = np.unique(group, return_index=True)
        if np.array_equal(attribute[first][group], attribute):
            return attribute
    return np.zeros_like(dataset.labels)


def _take_fraction(part: Indices, strata: Indices, name: int, fraction: float) -> None:
    for stratum in np.unique(strata):
        free = np.flatnonzero((strata == stratum) & (part == TRAIN))
        part[free[: max(1, round(fraction * len(free)))]] = name


def _top_up(part: Indices, rank: Indices, cells: Indices, name: int, demand: Indices) -> None:
    found = np.bincount(cells[part[rank] == name], minlength=len(demand))
    for cell in np.flatnonzero(found < demand):
        ranks = np.sort(rank[cells == cell])  # with repeats: items of one group stay together
        short = max(0, int(demand[cell] - np.sum(part[ranks] == name)))
        spare = ranks[part[ranks] == TRAIN]
        part[spare[:short]] = name
