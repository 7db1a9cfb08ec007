"""What a site holds: its tasks as they were read, kept on its own disk, numbered once and for all.

A task that was taken stays as it is. So item n is the same item after a restart and after later
tasks have arrived, and what a client remembers of it stays right.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.config.site import HeldOut, SiteConfig
from fedbridge.core.errors import UserError
from fedbridge.core.store import Images, Part, Texts, content_fingerprint, read_part, write_part
from fedbridge.core.words import RULES
from fedbridge.data.dataset import Dataset
from fedbridge.data.readers.faults import listed
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.pixels import PIXELS
from fedbridge.data.readers.preparing import (
    TEST,
    TRAIN,
    VALIDATION,
    InputSpec,
    prepared,
    sides_of,
)
from fedbridge.data.site import partitions_of
from fedbridge.data.streams.scenario import Task
from fedbridge.data.streams.splits import Indices

log = logging.getLogger(__name__)
Admit = Callable[[Dataset], None]
"""Called with every task before it is taken for the first time; raises UserError to refuse it."""


class Holding:
    """The tasks that a site has taken, in order, and their items under numbers from 0."""

    def __init__(
        self, site: SiteConfig, frame: InputSpec, admit: Admit = lambda dataset: None
    ) -> None:
        assert isinstance(site.data, HeldOut)
        self.site = site
        self.frame = frame
        self.held: HeldOut = site.data
        self.folder = site.state / "data" / _mark(site, frame)
        self.datasets: list[Dataset] = []
        self.tasks: tuple[Task, ...] = ()
        self.labels: NDArray[np.int64] = np.zeros(0, np.int64)
        self._admit = admit
        self._ends: list[int] = []
        self._said: set[str] = set()

    def take(self) -> bool:
        """Take the next task if there is one that is complete; raise UserError if it is unfit."""
        folder = self.folder / f"{len(self.tasks) + 1:06}"
        if not folder.is_dir():
            self.site.state.mkdir(mode=0o700, parents=True, exist_ok=True)  # private data
            taken = {dataset.domain_names[0] for dataset in self.datasets}
            notice = Notice()
            waiting = [p for p in partitions_of(self.site, notice) if p.name not in taken]
            ready = [p for p in waiting if p.complete or not self.held.live]
            if not ready:
                return False
            part = prepared(ready[0], self.frame, self.held)
            if part.origin is not None:
                log.warning("task %r: left out: %s", part.domain, listed(part.origin.broken))
            self._admit(dataset_of(part, content_fingerprint(part.domain)))
            write_part(folder, part)
            self._say(notice)
        self._add(*read_part(folder))
        return True

    def keep(self, count: int) -> None:
        """Restore the first ``count`` tasks; raise UserError if they were never taken."""
        self.datasets, self.tasks, self._ends = [], (), []
        self.labels = np.zeros(0, np.int64)
        for number in range(1, count + 1):
            folder = self.folder / f"{number:06}"
            if not folder.is_dir():
                raise UserError(
                    f"{folder}: this client has learnt {count} tasks, but task {number} is not "
                    f"there as it was read then, with the settings of then and by the rules of "
                    f"this release; bring it back, or delete {self.site.state} to begin anew"
                )
            self._add(*read_part(folder))

    def _say(self, notice: Notice) -> None:
        """Log once what was noticed while tasks were read."""
        for line in notice.notes().spoken:
            if line not in self._said:
                log.info("%s: %s", self.site.client, line)
        self._said |= set(notice.notes().spoken)

    def inputs_of(self, rows: Indices) -> Images | NDArray[np.uint16]:
        """Return items ``(n, ...)`` as small models read them."""
        return self.gather(rows, lambda part, own: self.datasets[part].inputs[own])

    def items_of(self, rows: Indices) -> Images | Texts:
        """Return items as the FM reads them."""
        if self.frame.modality == "text":
            return tuple(self._text(row) for row in rows.tolist())
        return self.gather(rows, lambda part, own: np.asarray(self.datasets[part].items)[own])

    def gather(self, rows: Indices, read: Callable[[int, Indices], NDArray[Any]]) -> NDArray[Any]:
        """Return ``read(task, rows within it)`` of rows of any tasks, in their order."""
        ends = np.array(self._ends)
        parts = np.searchsorted(ends, rows, side="right")
        starts = np.concatenate([[0], ends])
        found = read(0, np.zeros(0, np.int64))
        result = np.zeros((len(rows), *found.shape[1:]), found.dtype)
        for part in np.unique(parts).tolist():
            chosen = parts == part
            result[chosen] = read(part, rows[chosen] - starts[part])
        return result

    def _text(self, row: int) -> str:
        part = int(np.searchsorted(self._ends, row, side="right"))
        return str(self.datasets[part].items[row - ([0, *self._ends][part])])

    def _add(self, part: Part, fingerprint: str) -> None:
        start = len(self.labels)
        self.datasets.append(dataset_of(part, fingerprint))
        self.labels = np.concatenate([self.labels, part.labels])
        self._ends.append(len(self.labels))
        self.tasks = (*self.tasks, task_of(part, self.held, start))


def task_of(part: Part, held: HeldOut, start: int = 0) -> Task:
    """Return a task whose first item has the number ``start``."""
    sides = sides_of(part.groups, held)
    train, validation, test = (
        start + np.flatnonzero(sides == side) for side in (TRAIN, VALIDATION, TEST)
    )
    classes = tuple(np.unique(part.labels).tolist())
    return Task(classes, train, train, validation, test, classes)


def dataset_of(part: Part, fingerprint: str) -> Dataset:
    """Return one task as a data set of its own."""
    return Dataset(
        name=f"site: {part.domain}",
        modality="text" if isinstance(part.items, tuple) else "image",
        items=part.items,
        inputs=part.inputs,
        labels=part.labels,
        domains=np.zeros(len(part.labels), np.int64),
        groups=part.groups,
        classes=part.classes,
        domain_names=(part.domain,),
        fingerprint=fingerprint,
        licences=(),
    )


def _mark(site: SiteConfig, frame: InputSpec) -> str:
    """Return a name for all that decides how data are read; other settings, another folder."""
    about = site.data.model_dump(mode="json", exclude={"live", "complete", "path", "broken"})
    path = getattr(site.data, "path", site.state)
    about["path"] = os.path.relpath(path, site.state)  # both may be moved together
    if site.data.kind != "images":
        about["rules"] = RULES
    shape = [frame.classes, frame.modality, frame.size, frame.side]
    if frame.modality == "image":
        shape.append(PIXELS)
    return content_fingerprint([about, shape])[:16]
