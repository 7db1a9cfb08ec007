"""What went wrong with clients: counted and told."""

from fedbridge.report.run.folder import ClientFailure
from fedbridge.report.run.troubles import FailureLine, failures_of


def test_nothing_went_wrong() -> None:
    assert failures_of([]) is None


def test_troubles_are_counted_by_kind_and_told_in_order() -> None:
    found = failures_of(
        [
            ClientFailure(kind="late", client="b", exchange=3, reason="an answer is not taken"),
            ClientFailure(kind="refused", client="a", task=2, round=1, reason="seen: must"),
            ClientFailure(kind="refused", client="a", task=2, round=2, reason="state: must"),
            ClientFailure(kind="quarantined", client="c"),
        ]
    )
    assert found is not None
    assert found.counts == [("refused", 2), ("late", 1), ("quarantined", 1)]
    assert found.lines == [
        FailureLine("b", "late", "exchange 3", "an answer is not taken"),
        FailureLine("a", "refused", "task 2, round 1", "seen: must"),
        FailureLine("a", "refused", "task 2, round 2", "state: must"),
        FailureLine("c", "quarantined", "–", ""),
    ]
