"""All runs that the dashboard knows of, read again only where something has changed."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fedbridge.report.dashboard.discovery import find_runs
from fedbridge.report.dashboard.entry import Entry, read_entry

FRESH = 1.0  # seconds for which a look counts, however many pages are open


class Catalogue:
    """The runs below some folders; may be asked from several threads."""

    def __init__(self, roots: Sequence[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self.roots = [root.resolve() for root in roots]
        self._clock = clock
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._entries: dict[str, Entry] = {}

    def entries(self) -> dict[str, Entry]:
        """Return all runs by name, as they are now or were a moment ago."""
        with self._lock:
            now = self._clock()
            if self._looked is None or now - self._looked >= FRESH:
                self._entries = self._look()
                self._looked = now
            return self._entries

    def _look(self) -> dict[str, Entry]:
        read = {
            name: read_entry(folder, self._label(folder), self._entries.get(name))
            for name, folder in find_runs(self.roots).items()
        }
        return {name: entry for name, entry in read.items() if entry is not None}

    def _label(self, folder: Path) -> str:
        """Return a folder's path from the root it lies in, short and yet different from others."""
        for root in self.roots:
            if folder == root:
                return folder.name
            if folder.is_relative_to(root):
                shown = root if len(self.roots) == 1 else root.parent
                return folder.relative_to(shown).as_posix()
        return folder.as_posix()
