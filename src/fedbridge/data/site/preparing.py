"""From the rows of one task to what clients learn from: read once, checked, in a fixed order."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Config
from fedbridge.config.site import Held
from fedbridge.data.dataset import Dataset
from fedbridge.data.hub_rows import draw
from fedbridge.data.site.cells import Cells
from fedbridge.data.site.pictures import decode_picture, pixels_digest
from fedbridge.data.site.rows import Encoded, Partition, Row
from fedbridge.data.splits import Indices
from fedbridge.data.store import Images, Part, Texts
from fedbridge.data.tokens import LENGTH, tokenize
from fedbridge.errors import UserError
from fedbridge.rng import seed_for
from fedbridge.words import alike, composed

T = TypeVar("T")
TRAIN, VALIDATION, TEST = range(3)
SIDES = ("train", "validation", "test")
TOLD = 10  # faults that an error names at most


@dataclass(frozen=True)
class Frame:
    """What the common config says of every item: its class, its kind and its size."""

    classes: tuple[str, ...]
    modality: Literal["image", "text"]
    size: int
    """Side in pixels of a picture as small models read it."""
    side: int
    """The same for the FM."""

    @classmethod
    def of(cls, config: Config) -> "Frame":
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
    item: Images | str
    input: NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a row."""

    place: str
    rule: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}"


def read_items(partition: Partition, frame: Frame) -> tuple[list[Item], list[Fault]]:
    """Read a task, in an order that its contents alone decide, and say what cannot be read."""
    read = [attempted(row.place, partial(_item, row, frame)) for row in partition.rows()]
    items = [one for one in read if isinstance(one, Item)]
    faults = [one for one in read if isinstance(one, Fault)]
    return sorted(items, key=lambda item: (item.group, item.label, item.place)), faults


def attempted(place: str, read: Callable[[], T]) -> T | Fault:
    """Return what was read, or what is wrong with it."""
    try:
        return read()
    except UserError as error:
        return Fault(place, str(error))
    except Exception as error:  # decoders raise whatever they like
        return Fault(place, f"cannot be read ({type(error).__name__}: {error})")


def part_of(name: str, items: list[Item], frame: Frame) -> Part:
    """Return a task as it is stored; raise UserError if it is empty."""
    if not items:
        raise UserError(f"task {name!r}: must have items, found none")
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


def prepared(partition: Partition, frame: Frame, held: Held) -> Part:
    """Read a task whole; raise UserError naming all faults, or what its division lacks."""
    items, faults = read_items(partition, frame)
    if faults:
        told = "; ".join(map(str, faults[:TOLD])) + ("; ..." if len(faults) > TOLD else "")
        count = len(items) + len(faults)
        raise UserError(
            f"task {partition.name!r}: {len(faults)} of {count} items cannot be used: {told}"
        )
    part = part_of(partition.name, items, frame)
    lacks = shortcomings(part, held)
    if lacks:
        raise UserError("; ".join(lacks))
    return part


def shortcomings(part: Part, held: Held) -> list[str]:
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


def sides_of(groups: Indices, held: Held) -> Indices:
    """Return the side ``(n,)`` of each item: a function of its group, the shares and the seed.

    Equal contents are one group, so they are on one side, in whatever task they stand.
    """
    draws = np.array([seed_for(held.seed, "side", group) / 2**63 for group in groups.tolist()])
    sides = np.full(len(groups), TRAIN)
    sides[draws < held.test + held.validation] = VALIDATION
    sides[draws < held.test] = TEST
    return sides


def _item(row: Row, frame: Frame) -> Item:
    if row.label is None:
        raise UserError("must have a label, found none")
    if row.label not in frame.classes:
        raise UserError(
            f"label must be one of data.classes of the common config ({_some(frame.classes)}), "
            f"found {row.label!r}{_meant(row.label, frame.classes)}"
        )
    if isinstance(row.content, Encoded) != (frame.modality == "image"):
        raise UserError(f"must be of data.modality = {frame.modality!r} of the common config")
    item, small, group = content_of(row, frame)
    return Item(row.place, frame.classes.index(row.label), group, item, small)


def content_of(row: Row, frame: Frame) -> tuple[Images | str, Images | NDArray[np.uint16], int]:
    """Return an item for the FM, for small models, and the number of its group.

    Where the row names no group, equal contents are one.
    """
    item, small, digest = _content(row.content, frame)
    group = seed_for(0, "group", row.group) if row.group is not None else _number(digest)
    return item, small, group


def _content(
    content: str | Encoded | Cells, frame: Frame
) -> tuple[Images | str, Images | NDArray[np.uint16], str]:
    """Return an item for the FM, for small models, and the sha256 of its content."""
    if isinstance(content, Encoded):
        picture = decode_picture(content)
        return draw(picture, frame.side), draw(picture, frame.size), pixels_digest(picture)
    text = content.text if isinstance(content, Cells) else composed(content.strip())
    if not text:
        raise UserError("must have a content, found an empty one")
    tokens = content.tokens if isinstance(content, Cells) else tokenize(text)
    return text, tokens, hashlib.sha256(text.encode()).hexdigest()


def _number(digest: str) -> int:
    return int(digest[:16], 16) >> 1


@lru_cache  # a column of other words would ask for each row
def _meant(label: str, classes: tuple[str, ...]) -> str:
    """Ask whether a class was meant that differs in case or blanks alone."""
    near = [name for same in alike((label, *classes)) if label in same for name in same]
    return f"; did you mean {near[1]!r}?" if near else ""


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:TOLD]) + (", ..." if len(names) > TOLD else "")
