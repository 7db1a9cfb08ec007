"""What went wrong with clients: counted and told."""

from fedbridge.report.folder import Trouble
from fedbridge.report.troubles import Line, troubles


def test_nothing_went_wrong() -> None:
    assert troubles([]) is None


def test_troubles_are_counted_by_kind_and_told_in_order() -> None:
    found = troubles(
        [
            Trouble(kind="late", client="b", exchange=3, reason="an answer is not taken"),
            Trouble(kind="refused", client="a", task=2, round=1, reason="seen: must"),
            Trouble(kind="refused", client="a", task=2, round=2, reason="state: must"),
            Trouble(kind="quarantined", client="c"),
        ]
    )
    assert found is not None
    assert found.counts == [("refused", 2), ("late", 1), ("quarantined", 1)]
    assert found.lines == [
        Line("b", "late", "exchange 3", "an answer is not taken"),
        Line("a", "refused", "task 2, round 1", "seen: must"),
        Line("a", "refused", "task 2, round 2", "state: must"),
        Line("c", "quarantined", "–", ""),
    ]
