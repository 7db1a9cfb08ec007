"""From items as they were found to prepared data: decoded once, what is broken told."""

import re
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.errors import UserError
from fedbridge.core.notes import Notes
from fedbridge.core.store import Images, Origin, Part, Texts, at_rows
from fedbridge.data.own.samples import TEST, Sample
from fedbridge.data.readers.faults import Fault, attempted, listed, on_both_sides
from fedbridge.data.readers.preparing import Content, InputSpec, content_of, group_of
from fedbridge.data.readers.rows import natural

REAL = re.compile(r"-?\d*\.\d+(e-?\d+)?|-?\d+e-\d+")
MOST_REAL = 10  # different numbers with a fraction that may be classes
Contents = tuple[Images | Texts, Images | NDArray[np.uint16]]


@dataclass(frozen=True)
class _Kept:
    """What is known of each of N items that could be read; their contents go elsewhere."""

    faults: list[Fault]
    labels: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    groups: "array[int]" = field(default_factory=lambda: array("q"))
    digests: "array[int]" = field(default_factory=lambda: array("q"))

    def take(self, sample: Sample, digest: int) -> None:
        """Take an item in; equal words are one in memory."""
        self.labels.append(sys.intern(sample.row.label or ""))
        self.domains.append(sys.intern(sample.domain))
        self.tasks.append(sys.intern(sample.task))
        self.splits.append(sample.split)
        self.places.append(sample.row.place)
        self.groups.append(group_of(sample.row, digest))
        self.digests.append(digest)

    def twice(self) -> dict[int, Fault]:
        """Return the training items, by their row, that are test items too."""
        split = _official(tuple(self.splits))
        return {} if split is None else on_both_sides(self.digests, split == 1, self.places)


def parts_of(
    found: Iterable[Sample | Fault],
    frame: InputSpec,
    least: int,
    workspace: Path,
    notes: Callable[[], Notes] = Notes,
) -> Iterator[Part]:
    """Yield each domain; raise UserError if too few classes are left.

    A class has ``least`` items or more; with 0 there need not be two classes. ``notes`` is asked
    once everything is read.
    """
    kept = _Kept([])
    contents = _contents(found, frame, kept)
    texts = frame.modality == "text"
    items, inputs = (_listed if texts else partial(_drawn, frame))(workspace, contents)
    twice = kept.twice()
    faults = sorted([*kept.faults, *twice.values()], key=lambda fault: natural(fault.place))
    broken = tuple(map(str, faults))
    counts = Counter(label for row, label in enumerate(kept.labels) if row not in twice)
    classes = tuple(sorted((name for name in counts if counts[name] >= least), key=natural))
    _require_classes(classes, counts, least, broken)
    _require_names(counts)
    small = _small(counts, least)
    labels = _numbered(kept.labels, classes)
    labels[list(twice)] = -1
    domains = tuple(sorted(set(kept.domains), key=natural))
    place, said = _numbered(kept.domains, domains), notes()
    for number, domain in enumerate(domains):
        rows = np.flatnonzero((place == number) & (labels >= 0))
        if not len(rows):
            continue
        few = at_rows(inputs, rows)
        tasks = at_rows(kept.tasks, rows)
        yield Part(
            domain=domain,
            items=few if items is inputs else at_rows(items, rows),
            inputs=few,
            labels=labels[rows],
            groups=np.array(kept.groups, np.int64)[rows],
            classes=classes,
            licences=(),
            sources=("own data",),
            split=_official(at_rows(kept.splits, rows)),
            origin=Origin(
                places=at_rows(kept.places, rows),
                tasks=tasks if all(tasks) else (),
                broken=broken,
                small=small,
                notes=said,
            ),
        )
        broken, small, said = (), (), Notes()  # reported once


def _numbered(words: list[str], names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the place of each word among names ``(N,)``, -1 for one that is none of them."""
    places = {name: place for place, name in enumerate(names)}
    return np.fromiter((places.get(word, -1) for word in words), np.int64, len(words))


def _official(splits: Texts) -> NDArray[np.int8] | None:
    """Return 0 for training and 1 for test items, where the data say which is what."""
    if not all(splits):
        return None
    return np.array([split == TEST for split in splits], np.int8)


def _contents(found: Iterable[Sample | Fault], frame: InputSpec, kept: _Kept) -> Iterator[Content]:
    """Decode each item once, and keep what is known of it, or what is wrong with it."""
    if frame.modality == "image":  # written as they come: those of a domain must be neighbours
        found = sorted(found, key=_domain_of)
    for one in found:
        read = one if isinstance(one, Fault) else _decoded(one, frame)
        if isinstance(read, Fault):
            kept.faults.append(read)
        elif isinstance(one, Sample):
            kept.take(one, read.digest)
            yield read


def _domain_of(one: Sample | Fault) -> list[tuple[int, str]]:
    return natural(one.domain) if isinstance(one, Sample) else []


def _decoded(sample: Sample, frame: InputSpec) -> Content | Fault:
    if sample.row.label is None:
        return Fault(sample.row.place, "must have a label, found none")
    return attempted(sample.row.place, partial(content_of, sample.row, frame))


def _listed(workspace: Path, contents: Iterator[Content]) -> Contents:
    """Write tokens to a file, since they are larger than the texts."""
    path, texts = workspace / "inputs", []
    with path.open("wb") as file:
        for one in contents:
            texts.append(str(one.item))
            file.write(one.input.tobytes())
    if not texts:
        return (), np.zeros((0, 0), np.uint16)
    return tuple(texts), np.memmap(path, np.uint16, "r").reshape(len(texts), -1)


def _drawn(frame: InputSpec, workspace: Path, contents: Iterator[Content]) -> Contents:
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
    rule = f" of {least} items or more (data.own.min_class_items)" if least > 1 else ""
    raise UserError(
        f"there must be at least two classes{rule}, found {told}"
        + (f"; {listed(broken)}" if broken else "")
    )


def _require_names(counts: Counter[str]) -> None:
    """Raise UserError if labels are numbers with a fraction, of which hardly two are equal."""
    real = [word for word in counts if REAL.fullmatch(word)]
    items = sum(counts[word] for word in real)
    if len(real) > MOST_REAL or 2 * len(real) > max(items, 2):
        raise UserError(
            f"labels must be names or whole numbers, found {len(real)} different numbers with a "
            f"fraction, such as {real[0]}: quantities cannot be learnt; put them into a few bins "
            f"(pandas.cut), or, if they are names, write them as such (v1.10)"
        )


def _small(counts: Counter[str], least: int) -> Texts:
    return tuple(
        f"class {name!r} has {counts[name]} items, fewer than data.own.min_class_items = {least}"
        for name in sorted(counts, key=natural)
        if counts[name] < least
    )
