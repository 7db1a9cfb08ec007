"""From items as they were found to prepared data: decoded once, what is broken told."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedbridge.data.faults import Fault, attempted, listed, on_both_sides
from fedbridge.data.own.samples import TEST, Sample
from fedbridge.data.site.preparing import Content, Frame, content_of, group_of
from fedbridge.data.site.rows import natural
from fedbridge.data.store import Images, Origin, Part, Texts, at_rows
from fedbridge.errors import UserError

Contents = tuple[Images | Texts, Images | NDArray[np.uint16]]


def parts_of(
    found: Sequence[Sample | Fault], frame: Frame, least: int, workspace: Path
) -> Iterator[Part]:
    """Yield each domain; raise UserError if too little is left to be told apart.

    A class has ``least`` items or more; with 0 there need not be two classes.
    """
    faults = [one for one in found if isinstance(one, Fault)]
    samples = [one for one in found if isinstance(one, Sample)]
    samples.sort(key=lambda sample: natural(sample.domain))  # stable: items stay in their order
    kept: list[Sample] = []
    digests: list[int] = []
    contents = _contents(samples, frame, kept, digests, faults)
    items, inputs = (_listed if frame.modality == "text" else partial(_drawn, frame, workspace))(
        contents
    )
    split = _official(kept)
    twice = _twice(kept, digests, split)
    faults += twice.values()
    broken = tuple(str(fault) for fault in sorted(faults, key=lambda fault: natural(fault.place)))
    counts = Counter(one.row.label or "" for row, one in enumerate(kept) if row not in twice)
    classes = tuple(sorted((name for name in counts if counts[name] >= least), key=natural))
    _require_classes(classes, counts, least, broken)
    small = _small(counts, least)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers.get(sample.row.label or "", -1) for sample in kept], np.int64)
    labels[list(twice)] = -1
    groups = [group_of(*each) for each in zip((one.row for one in kept), digests, strict=True)]
    domains = np.array([sample.domain for sample in kept])
    for domain in dict.fromkeys(sample.domain for sample in kept):
        rows = np.flatnonzero((domains == domain) & (labels >= 0))
        if not len(rows):
            continue
        told = [kept[row] for row in rows.tolist()]
        few = at_rows(inputs, rows)
        yield Part(
            domain=domain,
            items=few if items is inputs else at_rows(items, rows),
            inputs=few,
            labels=labels[rows],
            groups=np.array(groups, np.int64)[rows],
            classes=classes,
            licences=(),
            sources=("own data",),
            split=None if split is None else split[rows],
            origin=Origin(
                places=tuple(sample.row.place for sample in told),
                tasks=tuple(sample.task for sample in told if sample.task),
                broken=broken,
                small=small,
            ),
        )
        broken = small = ()  # told once


def _official(samples: Sequence[Sample]) -> NDArray[np.int8] | None:
    """Return 0 for training and 1 for test items, where the data say which is what."""
    if not all(sample.split for sample in samples):
        return None
    return np.array([sample.split == TEST for sample in samples], np.int8)


def _twice(
    kept: Sequence[Sample], digests: Sequence[int], split: NDArray[np.int8] | None
) -> dict[int, Fault]:
    """Return the training items, by their row, that are test items too."""
    if split is None:
        return {}
    return on_both_sides(digests, split == 1, [sample.row.place for sample in kept])


def _contents(
    samples: Iterable[Sample],
    frame: Frame,
    kept: list[Sample],
    digests: list[int],
    faults: list[Fault],
) -> Iterator[Content]:
    """Decode each item once; note which could be, their digests, and what could not be."""
    for sample in samples:
        read = attempted(sample.row.place, partial(_decoded, sample, frame))
        if isinstance(read, Fault):
            faults.append(read)
            continue
        kept.append(sample)
        digests.append(read.digest)
        yield read


def _decoded(sample: Sample, frame: Frame) -> Content:
    if sample.row.label is None:
        raise UserError("must have a label, found none")
    return content_of(sample.row, frame)


def _listed(contents: Iterator[Content]) -> Contents:
    read = list(contents)
    inputs: Any = np.stack([one.input for one in read]) if read else np.zeros((0, 0), np.uint16)
    return tuple(str(one.item) for one in read), inputs


def _drawn(frame: Frame, workspace: Path, contents: Iterator[Content]) -> Contents:
    """Write pictures one by one, since a large data set would not fit in memory."""
    paths = [workspace / name for name in ("items", "inputs")]
    count = 0
    with paths[0].open("wb") as large, paths[1].open("wb") as little:
        for one in contents:
            large.write(np.asarray(one.item).tobytes())
            little.write(one.input.tobytes())
            count += 1
    if not count:
        return (nothing := np.zeros((0, 3, 1, 1), np.uint8)), nothing
    items, inputs = (
        np.memmap(path, np.uint8, "r", shape=(count, 3, side, side))
        for path, side in zip(paths, (frame.side, frame.size), strict=True)
    )
    return inputs if frame.side == frame.size else items, inputs


def _require_classes(
    classes: tuple[str, ...], counts: Counter[str], least: int, broken: Texts
) -> None:
    if len(classes) >= (2 if least else 1):
        return
    if not least:
        raise UserError("must have items, found none" + (f"; {listed(broken)}" if broken else ""))
    told = ", ".join(f"{name!r} ({count})" for name, count in sorted(counts.items())) or "none"
    rule = f" of {least} items or more (data.own.least)" if least > 1 else ""
    raise UserError(
        f"there must be at least two classes{rule}, found {told}"
        + (f"; {listed(broken)}" if broken else "")
    )


def _small(counts: Counter[str], least: int) -> Texts:
    return tuple(
        f"class {name!r} has {counts[name]} items, fewer than data.own.least = {least}"
        for name in sorted(counts, key=natural)
        if counts[name] < least
    )
