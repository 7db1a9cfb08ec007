"""What went wrong with clients: counted by kind, and one by one."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fedbridge.core.wording import UNKNOWN
from fedbridge.report.run.folder import ClientFailure


class FailureLine(NamedTuple):
    """One trouble as the page shows it."""

    client: str
    kind: str
    when: str
    reason: str


class Failures(NamedTuple):
    """All troubles of a run, and how many there are of each kind, most frequent first."""

    counts: list[tuple[str, int]]
    lines: list[FailureLine]


def failures_of(found: Sequence[ClientFailure]) -> Failures | None:
    """Return the troubles in the order in which they came, None where there were none."""
    if not found:
        return None
    counts = Counter(trouble.kind for trouble in found)
    return Failures(counts.most_common(), [_line(trouble) for trouble in found])


def _line(trouble: ClientFailure) -> FailureLine:
    place = {"task": trouble.task, "round": trouble.round, "exchange": trouble.exchange}
    when = ", ".join(f"{name} {number}" for name, number in place.items() if number is not None)
    return FailureLine(trouble.client, trouble.kind, when or UNKNOWN, trouble.reason)
