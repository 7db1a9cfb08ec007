"""What went wrong with clients: counted by kind, and one by one."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from fedbridge.report.folder import Trouble
from fedbridge.report.wording import UNKNOWN


class Line(NamedTuple):
    """One trouble as the page shows it."""

    client: str
    kind: str
    when: str
    reason: str


class Troubles(NamedTuple):
    """All troubles of a run, and how many there are of each kind, most frequent first."""

    counts: list[tuple[str, int]]
    lines: list[Line]


def troubles(found: Sequence[Trouble]) -> Troubles | None:
    """Return the troubles in the order in which they came, None where there were none."""
    if not found:
        return None
    counts = Counter(trouble.kind for trouble in found)
    return Troubles(counts.most_common(), [_line(trouble) for trouble in found])


def _line(trouble: Trouble) -> Line:
    place = {"task": trouble.task, "round": trouble.round, "exchange": trouble.exchange}
    when = ", ".join(f"{name} {number}" for name, number in place.items() if number is not None)
    return Line(trouble.client, trouble.kind, when or UNKNOWN, trouble.reason)
