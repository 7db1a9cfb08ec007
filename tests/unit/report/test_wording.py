import math

import pytest

from fedbridge.core.wording import duration, percent, short, size
from fedbridge.report.run.folder import Measures
from fedbridge.report.run.metric_words import metric


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.7734, False, "77.3"),
        (1.0, False, "100.0"),
        (-0.108, True, "−10.8"),
        (0.013, True, "+1.3"),
        (-0.0001, True, "0.0"),
        (None, False, "–"),
        (math.nan, False, "–"),
    ],
)
def test_percent(value: float | None, signed: bool, text: str) -> None:
    assert percent(value, signed) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 2**40, "5.0 TiB")],
)
def test_size(count: int | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (4.2, "4.2 s"),
        (59.98, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 0 min"),
        (3900, "1 h 5 min"),
    ],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_only_transfers_have_a_sign() -> None:
    measures = Measures(final_accuracy=0.5, backward_transfer=0.5)
    assert metric(measures, "final_accuracy") == "50.0"
    assert metric(measures, "backward_transfer") == "+50.0"
    assert metric(measures, "forgetting") == "–"


def test_labels_are_printable_and_short() -> None:
    assert short("a\nb") == "a b"
    assert short("abcdef", 4) == "abc…"
    assert short("abcd", 4) == "abcd"
