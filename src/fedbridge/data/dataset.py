"""What a prepared data set is: items with labels, domains and groups."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.notes import NOTHING, Notes


@dataclass(frozen=True)
class Dataset:
    """Items as the FM and as the small models read them, with everything a scenario needs.

    ``items`` is uint8 ``(N, C, H, W)`` for images or a tuple of N strings for texts;
    ``inputs`` is what small models read: uint8 ``(N, C, S, S)`` for images or uint16 token
    ids ``(N, L)`` for texts, 0 meaning padding. ``groups`` says which items belong together
    (the same font, the same emoji in several styles): a group is never divided between
    train, validation, test and public. ``split`` is the official division, where there is one.
    """

    name: str
    modality: Literal["image", "text"]
    items: NDArray[np.uint8] | tuple[str, ...]
    inputs: NDArray[np.uint8] | NDArray[np.uint16]
    labels: NDArray[np.int64]  # (N,)
    domains: NDArray[np.int64]  # (N,)
    groups: NDArray[np.int64]  # (N,)
    classes: tuple[str, ...]
    domain_names: tuple[str, ...]
    fingerprint: str  # sha256 of the prepared content; names the embedding store
    licences: tuple[str, ...]
    split: NDArray[np.int8] | None = None  # (N,): 0 training, 1 test
    places: tuple[str, ...] = ()  # N, where the items stand in own files
    tasks: NDArray[np.int64] | None = None  # (N,), what own data say, numbered from 0 as they come
    task_names: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()  # what of own data cannot be used, each as a line
    small: tuple[str, ...] = ()  # classes of own data that were left out, each as a line
    notes: Notes = NOTHING  # what was noticed while own data were read

    def __len__(self) -> int:
        return len(self.labels)
