"""What a data set and a scenario are before anything is loaded: ours, and those of strangers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedbridge.config import Scenario
from fedbridge.config.section import Section
from fedbridge.core.packages import Package
from fedbridge.core.store import Part
from fedbridge.core.words import MISSING
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.splits import Indices
from fedbridge.data.streams.stream import Streams


@dataclass(frozen=True, eq=False)
class Items:
    """N items as arrays, lists or columns, with what is known of each.

    ``items`` and ``labels`` are as :func:`fedbridge.data.from_arrays` takes them, and so is the
    rest: ``domains`` say where an item is from, ``tasks`` when it comes, ``groups`` which belong
    together, ``split`` whether it is of ``train`` or of ``test``.
    """

    items: Any
    labels: Sequence[Any] | None = None
    classes: Sequence[str] | None = None
    missing: Sequence[str] = MISSING
    levels: tuple[float, float] | None = None
    domains: Sequence[Any] | None = None
    tasks: Sequence[Any] | None = None
    groups: Sequence[Any] | None = None
    split: Sequence[Any] | None = None


@dataclass(frozen=True)
class DataSource:
    """A data set as it is listed, and how it is had.

    Either ``load(options, workspace)`` returns all items at once; or, where a part alone may be
    wanted, ``parts(domains, workspace)`` yields at least the ``domains`` asked for, one by one.
    Both may fill the empty folder ``workspace``, which is removed afterwards. What they give is
    kept in the cache: it is asked for again when the module or the options change, or ``version``.
    """

    summary: str
    load: Callable[[Any, Path], Items] | None = None
    parts: Callable[[tuple[str, ...], Path], Iterator[Part]] | None = None
    domains: tuple[str, ...] = ()
    """All that ``parts`` can yield."""
    licences: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """Where the items come from, for ``load``; a part says it itself."""
    modality: Literal["image", "text"] = "image"
    options: type[Section] | None = None
    """The section of what a config sets under ``data.options``; only for ``load``."""
    packages: tuple[Package, ...] = ()
    """What it downloads if all domains are asked for."""
    download: float = 0.0
    """Megabytes that it downloads besides; ``fedbridge check`` asks before it has them fetched."""
    version: str = ""
    """Another one where other items come of the same module: of files that it reads, say."""

    def __post_init__(self) -> None:
        """Raise ValueError unless there is one way to have it, fit for its domains and options."""
        if (self.load is None) == (self.parts is None):
            raise ValueError("must have either load or parts")
        if (self.parts is None) != (not self.domains):
            raise ValueError("domains must be declared with parts, and only with them")
        if self.options is not None and self.load is None:
            raise ValueError("options are only for load")
        require_section(self.options)

    @property
    def megabytes(self) -> float:
        """Return the approximate size of all downloads in megabytes."""
        return sum(package.megabytes for package in self.packages) + self.download


@dataclass(frozen=True, eq=False)
class TaskItems:
    """A client's items in one task, each ``(n,)`` rows of the data set; some of them train."""

    train: Indices
    validation: Indices
    test: Indices
    name: str = ""
    """What the task is called; empty where it has no name."""


@dataclass(frozen=True, eq=False)
class Division:
    """Who holds what, and when: the public rows ``(n,)``, and every client's items by slot.

    ``clients`` names each client, in order, and says what it has in each slot of time, from 1 to
    ``scenario.tasks + scenario.repeats``, in which it has a task.
    """

    public: Indices
    clients: Mapping[str, Mapping[int, TaskItems]]


@dataclass(frozen=True)
class ScenarioKind:
    """A way to deal a data set out, as it is listed.

    ``divide(dataset, settings, options, seed)`` says who holds what; whatever is random in it
    comes from ``fedbridge.core.rng.rng_for(seed, "scenario", role, ...)``. It decides nothing else:
    ``scenario.history``, ``participation_rounds`` and what any scenario must hold are seen to
    afterwards.
    """

    divide: Callable[[Dataset, Scenario, Any, int], Division | Streams]
    summary: str
    options: type[Section] | None = None
    """The section of what a config sets under ``scenario.options``."""

    def __post_init__(self) -> None:
        """Raise ValueError unless its options are a section."""
        require_section(self.options)


def require_section(options: object) -> None:
    """Raise ValueError unless options are None or a subclass of ``fedbridge.config.Section``."""
    if options is None or (isinstance(options, type) and issubclass(options, Section)):
        return
    raise ValueError(f"options must be a subclass of fedbridge.config.Section, found {options!r}")
