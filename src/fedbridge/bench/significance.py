"""Whether a difference is more than chance: Wilcoxon's signed ranks, corrected after Holm."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedbridge.bench.outcome import Finals

LEAST_PAIRS = 6  # with fewer, no two-sided p is below 0.05: 2 / 2**5 = 0.0625
DIGITS = 12  # differences that are equal but for rounding tie


class Test(NamedTuple):
    """A two-sided p, None where there are too few pairs, and the number of pairs."""

    p: float | None
    pairs: int


def compared_with_ours(ours: Finals, others: Sequence[Finals]) -> list[Test]:
    """Test each of the others against ours over common (seed, client); p is Holm's over all."""
    differences = [[ours[k] - other[k] for k in ours if k in other] for other in others]
    adjusted = holm([signed_rank(values) for values in differences])
    return [Test(p, len(values)) for p, values in zip(adjusted, differences, strict=True)]


def signed_rank(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of Wilcoxon's signed-rank test that differences centre on zero.

    Pairs without a difference are left out of the ranks (Wilcoxon 1945); without any, p is 1.
    None means fewer than six pairs.
    """
    from scipy.stats import wilcoxon

    if len(differences) < LEAST_PAIRS:
        return None
    values = np.round(np.asarray(differences, dtype=np.float64), DIGITS)
    if not values.any():
        return 1.0
    return float(wilcoxon(values[values != 0.0]).pvalue)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number (Holm 1979); unknown ones do not count."""
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))
        adjusted[place] = least
    return adjusted
