"""Groups divided once, for all clients, into test, public, validation and training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Scenario
from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.data.dataset import Dataset

Indices = NDArray[np.int64]
TRAIN, VALIDATION, TEST, PUBLIC = range(4)
TOLD = 4  # items of a group that an error names at most


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
    item, or with fewer validation items than clients, further groups are moved there. Where the
    data set has an official division, its test items are the test, no more and no fewer.

    Raises UserError if the official division cuts a group or lacks one of its parts.
    """
    _, group = np.unique(dataset.groups, return_inverse=True)
    total = int(group.max(initial=-1)) + 1
    # from here on a group is called by its random rank, so "the first n" are n random ones
    rank = rng_for(seed, "scenario", "groups").permutation(total)[group]
    strata = np.zeros(total, dtype=np.int64)
    strata[rank] = _stratum_of_items(dataset, settings, cells, group)
    part = np.full(total, TRAIN)
    if dataset.split is None:
        _take_fraction(part, strata, TEST, settings.test)
        _top_up(part, rank, cells, TEST, np.minimum(need, 1))
        public = settings.public / (1.0 - settings.test)
    else:
        part[official_test(dataset, dataset.split, rank)] = TEST
        public = settings.public
    _take_fraction(part, strata, PUBLIC, public)
    _take_fraction(part, strata, VALIDATION, settings.validation)
    _top_up(part, rank, cells, VALIDATION, need)
    return Split(*(np.flatnonzero(part[rank] == name) for name in range(4)))


def official_test(dataset: Dataset, split: NDArray[np.int8], rank: Indices) -> Indices:
    """Return the groups ``(n,)`` of the official test, as ``rank`` ``(N,)`` numbers them.

    Raises UserError if the division cuts a group or lacks one of its parts.
    """
    tested, others = np.unique(rank[split == 1]), np.unique(rank[split == 0])
    cut = np.intersect1d(tested, others)
    if len(cut):
        raise UserError(
            f"data set {dataset.name!r}: its official division must leave groups whole, found "
            f"{len(cut)} with items in training and in test{_example(dataset, rank == cut[0])}"
        )
    if not len(tested) or not len(others):
        raise UserError(
            f"data set {dataset.name!r}: its official division must have training and test items, "
            f"found {np.sum(split == 0)} and {np.sum(split == 1)}"
        )
    return tested


def _example(dataset: Dataset, chosen: NDArray[np.bool_]) -> str:
    """Return where the items of a group stand, if they lie in own files."""
    rows = np.flatnonzero(chosen).tolist() if dataset.places else []
    return f", such as {', '.join(dataset.places[row] for row in rows[:TOLD])}" if rows else ""


def _stratum_of_items(
    dataset: Dataset, settings: Scenario, cells: Indices, group: Indices
) -> Indices:
    # by class where every group has one only (emoji), else by domain (fonts), else all in one;
    # where tasks are domains, by class and domain if that is possible
    finest = [cells] if settings.kind == "domain-incremental" else []
    _, first = np.unique(group, return_index=True)
    for attribute in (*finest, dataset.labels, dataset.domains):
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
