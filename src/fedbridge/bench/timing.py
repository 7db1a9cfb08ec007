"""How long jobs take, from those of earlier and of this time: the order, and the time left."""

import csv
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedbridge.bench.grid import Job
from fedbridge.bench.pool import GridStatus

Key = tuple[str, str]  # scenario, method


class Durations:
    """Seconds that the runs of a method on a scenario have taken."""

    def __init__(self, measured: Iterable[tuple[Key, float]] = ()) -> None:
        self._seconds: dict[Key, list[float]] = {}
        for key, seconds in measured:
            self.add(key, seconds)

    @classmethod
    def read(cls, table: Path) -> "Durations":
        """Return what an earlier table says; one that is missing or another says nothing."""
        try:
            with table.open(encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file))
            return cls((_key(line), float(line["seconds"])) for line in lines)
        except (OSError, ValueError, KeyError, csv.Error):
            return cls()

    def add(self, key: Key, seconds: float) -> None:
        """Note one run."""
        self._seconds.setdefault(key, []).append(seconds)

    def expected(self, job: Job) -> float | None:
        """Return what a job should take: as this method here, as others here, or unknown."""
        key = job.scenario.name, job.method.name
        same = self._seconds.get(key)
        alike = same or [
            s for (place, _), found in self._seconds.items() for s in found if place == key[0]
        ]
        return statistics.mean(alike) if alike else None

    def longest_first(self, jobs: Sequence[Job]) -> list[Job]:
        """Return jobs by what they should take; where nothing is known, in their own order."""
        return sorted(jobs, key=lambda job: -(self.expected(job) or 0.0))

    def left(self, standing: GridStatus, slots: int) -> float | None:
        """Return the seconds until all jobs should be done, None where that is unknown."""
        now = time.monotonic()
        spent = [(job, 0.0) for job in standing.waiting]
        spent += [(job, now - started) for job, started in standing.running.values()]
        expected = [(self.expected(job), seconds) for job, seconds in spent]
        rest = [max(0.0, whole - seconds) for whole, seconds in expected if whole is not None]
        if not rest or len(rest) < len(expected):
            return None
        return max(*rest, sum(rest) / max(1, min(slots, len(rest))))


def _key(line: dict[str, str]) -> Key:
    return line["scenario"], line["method"]
