"""How many items an upload may speak of: rules for counts, whoever sends them."""

from collections.abc import Iterator

from torch import Tensor

from fedbridge.wire import Upload

MOST = 1e6
"""Largest magnitude of a weight, a statistic or a feature. What is trained stays below a thousand;
squares of up to this, summed over a hundred million weights, are still far from float32's limit."""
MOST_ITEMS = 2**24
"""Most items of a client in a task: up to here float32, in which counts travel, is exact."""
ROUNDING = 1e-3
"""By how much sums in float32 may break an inequality that holds for real numbers, relatively."""


def count_faults(name: str, counts: Tensor, upload: Upload, complete: bool) -> Iterator[str]:
    """Yield what is wrong with counts ``(C,)`` of items, of all that there are if ``complete``."""
    if (wrong := counts[(counts < 0) | (counts != counts.round())]).numel():
        yield f"{name}: must be whole numbers from 0, found {wrong[0].item():g}"
    total = counts.double().sum().item()
    if total != upload.num_examples and (complete or total > MOST_ITEMS):
        yield f"{name}: must add up to items, {upload.num_examples}, found {total:g}"
    if foreign := set(counts.nonzero()[:, 0].tolist()) - set(upload.seen):
        yield f"{name}: must be 0 for classes not in seen, found items of class {min(foreign)}"
