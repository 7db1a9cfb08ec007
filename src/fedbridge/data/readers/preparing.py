"""From the rows of one task to what clients learn from: read once, checked, in a fixed order."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Settings
from fedbridge.config.site import HeldOut
from fedbridge.core.errors import UserError
from fedbridge.core.rng import seed_for
from fedbridge.core.store import Images, Origin, Part, Texts
from fedbridge.core.tokens import LENGTH, tokenize
from fedbridge.core.words import alike, composed
from fedbridge.data.dataset import Dataset
from fedbridge.data.readers.cells import Cells
from fedbridge.data.readers.faults import TOLD, Fault, attempted, listed, on_both_sides
from fedbridge.data.readers.pixels import Encoded, decode_picture, draw_picture, pixels_digest
from fedbridge.data.readers.rows import Partition, Row
from fedbridge.data.streams.splits import Indices

TRAIN, VALIDATION, TEST = range(3)


@dataclass(frozen=True)
class InputSpec:
    """What the common config says of every item: its class, its kind and its size."""

    classes: tuple[str, ...]
    modality: Literal["image", "text"]
    size: int
    """Side in pixels of a picture as small models read it."""
    side: int
    """The same for the FM."""

    @classmethod
    def of(cls, config: Settings) -> "InputSpec":
        """Return the frame of a config whose data are those of sites."""
        data = config.data
        assert data.classes is not None and data.modality is not None
        return cls(data.classes, data.modality, data.size or 32, config.large.side)

    def empty(self) -> Dataset:
        """Return a data set of this kind without any item."""
        nothing = np.zeros(0, np.int64)
        return Dataset(
            name="site",
            modality=self.modality,
            items=() if self.modality == "text" else np.zeros((0, 3, self.side, self.side), "u1"),
            inputs=np.zeros((0, LENGTH), np.uint16)
            if self.modality == "text"
            else np.zeros((0, 3, self.size, self.size), np.uint8),
            labels=nothing,
            domains=nothing,
            groups=nothing,
            classes=self.classes,
            domain_names=("site",),
            fingerprint="none",
            licences=(),
        )


@dataclass(frozen=True)
class Item:
    """One item as the FM and the small models read it."""

    place: str
    label: int
    group: int
    content: int
    """Equal for equal contents, whatever the group."""
    item: Images | str
    input: NDArray[np.uint8] | NDArray[np.uint16]


def read_items(partition: Partition, frame: InputSpec) -> tuple[list[Item], list[Fault]]:
    """Read a task, in an order that its contents alone decide, and say what cannot be read."""
    read = [
        row if isinstance(row, Fault) else attempted(row.place, partial(_item, row, frame))
        for row in partition.rows()
    ]
    items = [one for one in read if isinstance(one, Item)]
    faults = [one for one in read if isinstance(one, Fault)]
    return sorted(items, key=lambda item: (item.group, item.label, item.place)), faults


def part_of(name: str, items: list[Item], frame: InputSpec, faults: Sequence[Fault] = ()) -> Part:
    """Return a task as it is stored; raise UserError if it is empty."""
    if not items:
        told = f"; {listed(faults)}" if faults else ""
        raise UserError(f"task {name!r}: must have items, found none{told}")
    inputs: Any = np.stack([item.input for item in items])
    content: Images | Texts
    if frame.modality == "text":
        content = tuple(str(item.item) for item in items)
    else:
        content = np.stack([np.asarray(item.item) for item in items])
    return Part(
        domain=name,
        items=content,
        inputs=inputs,
        labels=np.array([item.label for item in items], np.int64),
        groups=np.array([item.group for item in items], np.int64),
        classes=frame.classes,
        licences=(),
        sources=(),
    )


def prepared(partition: Partition, frame: InputSpec, held: HeldOut) -> Part:
    """Read a task; its origin says what was left out, where that is asked for.

    Raises UserError naming all faults, or what its division lacks.
    """
    items, faults = usable_items(partition, frame, held)
    if faults and held.broken == "refuse":
        raise UserError(
            f"task {partition.name!r}: of {len(items) + len(faults)} items {listed(faults)}. "
            f"data.broken = 'skip' leaves them out"
        )
    part = part_of(partition.name, items, frame, faults)
    lacks = shortcomings(part, held)
    if lacks:
        raise UserError("; ".join(lacks))
    if not faults:
        return part
    places = tuple(item.place for item in items)
    return replace(part, origin=Origin(places, broken=tuple(map(str, faults))))


def usable_items(
    partition: Partition, frame: InputSpec, held: HeldOut
) -> tuple[list[Item], list[Fault]]:
    """Read a task as ``read_items`` does; an item that is also tested is of no other side."""
    items, faults = read_items(partition, frame)
    sides = sides_of(np.array([item.group for item in items], np.int64), held)
    twice = on_both_sides(
        [item.content for item in items], sides == TEST, [item.place for item in items]
    )
    kept = [item for row, item in enumerate(items) if row not in twice]
    return kept, [*faults, *twice.values()]


def shortcomings(part: Part, held: HeldOut) -> list[str]:
    """Return what a task lacks: a training item of each of its classes, and a test item."""
    sides = sides_of(part.groups, held)
    lacks = []
    for label in np.unique(part.labels).tolist():
        found = np.bincount(sides[part.labels == label], minlength=3)
        if not found[TRAIN]:
            lacks.append(
                f"task {part.domain!r}: class {part.classes[label]!r} must have a training item, "
                f"found {found.sum()} in all, {found[TEST]} for the test and {found[VALIDATION]} "
                f"for validation; more items or smaller shares help"
            )
    if not (sides == TEST).any():
        lacks.append(
            f"task {part.domain!r}: must have a test item, found none of {len(sides)} items; more "
            f"items or a larger data.test help"
        )
    return lacks


def sides_of(groups: Indices, held: HeldOut) -> Indices:
    """Return the side ``(n,)`` of each item: a function of its group, the shares and the seed.

    Equal contents are one group, so they are on one side, in whatever task they stand.
    """
    draws = np.array([seed_for(held.seed, "side", group) / 2**63 for group in groups.tolist()])
    sides = np.full(len(groups), TRAIN)
    sides[draws < held.test + held.validation] = VALIDATION
    sides[draws < held.test] = TEST
    return sides


def _item(row: Row, frame: InputSpec) -> Item:
    if row.label is None:
        raise UserError("must have a label, found none")
    if row.label not in frame.classes:
        raise UserError(
            f"label must be one of data.classes of the common config ({_some(frame.classes)}), "
            f"found {row.label!r}{_meant(row.label, frame.classes)}"
        )
    if isinstance(row.content, Encoded) != (frame.modality == "image"):
        raise UserError(f"must be of data.modality = {frame.modality!r} of the common config")
    read = content_of(row, frame)
    return Item(
        row.place,
        frame.classes.index(row.label),
        group_of(row, read.digest),
        read.digest,
        read.item,
        read.input,
    )


@dataclass(frozen=True)
class Content:
    """What an item is, for the FM and for small models, and a number of its content."""

    item: Images | str
    input: Images | NDArray[np.uint16]
    digest: int


def group_of(row: Row, digest: int) -> int:
    """Return the number of an item's group; where the row names none, equal contents are one."""
    return seed_for(0, "group", row.group) if row.group is not None else digest


def content_of(row: Row, frame: InputSpec) -> Content:
    """Return what an item is; raise UserError if that is nothing, or what decoders raise."""
    item, small, digest = _content(row.content, frame)
    return Content(item, small, int(digest[:16], 16) >> 1)


def _content(
    content: str | Encoded | Cells, frame: InputSpec
) -> tuple[Images | str, Images | NDArray[np.uint16], str]:
    """Return an item for the FM, for small models, and the sha256 of its content."""
    if isinstance(content, Encoded):
        picture = decode_picture(content)
        return (
            draw_picture(picture, frame.side),
            draw_picture(picture, frame.size),
            pixels_digest(picture),
        )
    text = content.text if isinstance(content, Cells) else composed(content.strip())
    if not text:
        raise UserError("must have a content, found an empty one")
    tokens = content.tokens if isinstance(content, Cells) else tokenize(text)
    return text, tokens, hashlib.sha256(text.encode()).hexdigest()


@lru_cache  # a column of other words would ask for each row
def _meant(label: str, classes: tuple[str, ...]) -> str:
    """Ask whether a class was meant that differs in case or blanks alone."""
    near = [name for same in alike((label, *classes)) if label in same for name in same]
    return f"; did you mean {near[1]!r}?" if near else ""


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:TOLD]) + (", ..." if len(names) > TOLD else "")
