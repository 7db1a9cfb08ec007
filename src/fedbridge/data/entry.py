"""What fedbridge knows about a data set before it is prepared."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedbridge.data.packages import Package
from fedbridge.data.store import Part


@dataclass(frozen=True)
class DatasetEntry:
    """A data set as it is listed, and how it is prepared.

    ``prepare(domains, workspace)`` yields at least the domains asked for, one by one, and may
    fill the empty folder ``workspace``, which is removed afterwards. ``packages`` is what it
    downloads if all domains are asked for.
    """

    prepare: Callable[[tuple[str, ...], Path], Iterator[Part]]
    summary: str
    domains: tuple[str, ...]
    licences: tuple[str, ...]
    packages: tuple[Package, ...] = ()
    modality: Literal["image", "text"] = "image"

    @property
    def megabytes(self) -> float:
        """Return the approximate size of all downloads in megabytes."""
        return sum(package.megabytes for package in self.packages)
