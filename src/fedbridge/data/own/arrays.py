"""Arrays of a program as a data set: put into the cache under a name made from their content."""

import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fedbridge.config import ARRAYS, Data, Own
from fedbridge.config.columns import TableColumns
from fedbridge.core.errors import UserError
from fedbridge.core.notes import Notes
from fedbridge.core.store import Part, data_root, write_parts
from fedbridge.core.words import MISSING, RULES, is_missing, word_of
from fedbridge.data.own import SMALL_SIDE
from fedbridge.data.own.lists import listed_values, shape_of, shown_value, words_of
from fedbridge.data.own.parts import parts_of
from fedbridge.data.own.samples import ALL, Sample, split_side
from fedbridge.data.readers.cells import Cells
from fedbridge.data.readers.faults import listed
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.pixels import Encoded, Levels, as_bytes, white_of
from fedbridge.data.readers.preparing import InputSpec
from fedbridge.data.readers.rows import UNLABELLED, Row
from fedbridge.data.readers.sheet import Sheet
from fedbridge.data.spec import Items

MOST_COLUMNS = 48
Content = str | Encoded | Cells


class About(TypedDict, total=False):
    """What else may be said of each of N items."""

    domains: Sequence[Any] | None
    tasks: Sequence[Any] | None
    groups: Sequence[Any] | None
    split: Sequence[Any] | None


def from_arrays(
    items: Any,
    labels: Sequence[Any] | None = None,
    *,
    classes: Sequence[str] | None = None,
    missing: Sequence[str] = MISSING,
    levels: tuple[float, float] | None = None,
    **about: Unpack[About],
) -> Data:
    """Put N items into the cache and return the ``data`` section by which a config names them.

    ``items`` are pictures ``(N, H, W)``, ``(N, H, W, C)`` or ``(N, C, H, W)`` of C = 1, 3 (or, at
    the end, 4) channels, as NumPy or torch arrays: uint8, floats from 0 to 1, whole numbers to 255,
    uint16 to 65,535, or others of which ``levels`` say what is black and white; texts; a matrix
    ``(N, F)`` of numbers; or columns by name, such as a DataFrame. ``labels`` are names, or whole
    numbers, of which ``classes`` may give the names; a public set needs none. ``domains`` say
    where an item is from, ``tasks`` when it comes (with ``scenario.kind = "given"``), ``groups``
    which belong together, ``split`` whether it is of ``train`` or of ``test``. All of them may be
    lists, arrays, tensors or columns of pandas. ``missing`` are words that mean that there is no
    value. Equal arrays are kept once. Raises UserError naming the argument, the rule and what was
    found.
    """
    if unknown := about.keys() - About.__annotations__.keys():
        known = ", ".join((*About.__annotations__, "missing"))
        raise UserError(f"from_arrays: takes {known}, found {', '.join(sorted(unknown))}")
    own = _own(levels)
    read = read_items(Items(items, labels, classes, missing, own.levels, **about))
    mark = read.fingerprint()[:32]
    folder = data_root("own") / ARRAYS / mark
    if not folder.is_dir():
        write_parts(folder, partial(_whole, read))
    return Data(name=f"{ARRAYS}:{mark}", own=own)


@dataclass(frozen=True)
class ReadItems:
    """Items as rows, checked, with what was noticed; ``parts`` decodes them."""

    given: "_Given"
    named: list[str]
    """Their classes."""
    told: dict[str, list[str]]
    """What else is said of them, by what it is."""
    notes: Notes
    labelled: bool

    def fingerprint(self) -> str:
        """Return what tells these items from others, in hexadecimal digits."""
        told = sorted(self.told.items())
        digest = hashlib.sha256(
            repr([RULES, self.given.modality, self.given.side, self.named, told]).encode()
        )
        for piece in self.given.pieces:
            digest.update(piece)
        return digest.hexdigest()

    def parts(self, workspace: Path) -> Iterator[Part]:
        """Yield each domain; raise UserError if too little is left to be told apart."""
        samples = [
            _sample(
                n, content, self.named[n], {name: words[n] for name, words in self.told.items()}
            )
            for n, content in enumerate(self.given.contents)
        ]
        frame = InputSpec((), self.given.modality, SMALL_SIDE, self.given.side)
        least = 1 if self.labelled else 0
        return parts_of(samples, frame, least, workspace, lambda: self.notes)


def read_items(items: Items) -> ReadItems:
    """Check arrays, and return them as rows; raise UserError naming the argument and the rule."""
    notice, missing = Notice(), items.missing
    given = _given(items.items, frozenset(missing), notice, Levels(items.levels, "levels"))
    if items.levels and given.modality != "image":
        raise UserError(
            f"levels: is only for pictures, found {items.levels} with {given.modality}s"
        )
    count = len(given.contents)
    about = {name: getattr(items, name) for name in About.__annotations__}
    told = {
        name: words_of(name, values, count, missing)
        for name, values in about.items()
        if values is not None
    }
    labelled = items.labels is not None
    named = (
        _labels(items.labels, items.classes, count, missing) if labelled else [UNLABELLED] * count
    )
    for name, words in (told | {"labels": named}).items():
        notice.named[name] = dict.fromkeys(words)
    return ReadItems(given, named, told, notice.notes(), labelled)


def _own(levels: tuple[float, float] | None) -> Own:
    """Return what a config says of arrays: how new pictures are read as these were."""
    try:
        return Own(levels=levels)
    except ValidationError as error:
        raise UserError(
            f"from_arrays: levels must be the value that is black and a larger one that is white, "
            f"found {levels!r}"
        ) from error


def _labels(
    labels: Any, classes: Sequence[str] | None, count: int, missing: Collection[str]
) -> list[str]:
    named = words_of("labels", labels, count, missing)
    if classes is None:
        return named
    known = [word_of(name) for name in classes]
    if len(set(known)) < len(known):
        raise UserError(f"classes: must name each class once, found {known}")
    return [_class_name(number, word, known) for number, word in enumerate(named)]


def _sample(number: int, content: Content, label: str, told: dict[str, str]) -> Sample:
    row = Row(f"item {number}", label, content, told.get("groups"))
    split = split_side(f"split: item {number}", told["split"]) if "split" in told else ""
    return Sample(row, told.get("domains", ALL), told.get("tasks", ""), split)


def _whole(read: ReadItems, workspace: Path) -> Iterator[Part]:
    for part in read.parts(workspace):
        if part.origin is not None and part.origin.broken:
            raise UserError(f"from_arrays: {listed(part.origin.broken)}")
        yield part


@dataclass(frozen=True)
class _Given:
    """Items as rows have them, and the bytes that tell them from others."""

    contents: Sequence[Content]
    modality: Literal["image", "text"]
    pieces: Iterable[bytes]
    side: int = SMALL_SIDE


def _given(items: Any, missing: Collection[str], notice: Notice, levels: Levels) -> _Given:
    if hasattr(items, "columns") and hasattr(items, "items"):  # a DataFrame
        if not items.columns.is_unique:
            raise UserError(
                f"items: columns must have names of their own, found {[*items.columns]}"
            )
        items = dict(items.items())
    if isinstance(items, Mapping):
        return _columns(items, missing, notice)
    shape = shape_of(items)
    if len(shape) == 1:
        return _texts(listed_values("items", items), missing)
    array = _array("items", items)
    if array.ndim in (3, 4):
        return _pictures(array, levels)
    if array.ndim == 2 and array.dtype.kind in "fiubOU":
        named = {f"x{n + 1}": array[:, n] for n in range(array.shape[1])}
        return _columns(named, missing, notice)
    raise UserError(
        f"items: must be pictures (N, H, W[, C]), texts, a matrix (N, F) of numbers or columns by "
        f"name, found {array.dtype} {array.shape}"
    )


def _texts(values: list[Any], missing: Collection[str]) -> _Given:
    for number, text in enumerate(values):
        if is_missing(text, missing):
            raise UserError(
                f"items: must be texts, found none ({shown_value(text)}) at item {number}"
            )
        if not isinstance(text, str):
            raise UserError(
                f"items: must be pictures (N, H, W[, C]), texts, a matrix (N, F) of numbers or "
                f"columns by name, found {type(text).__name__} {text!r:.40} at item {number}"
            )
    texts = [str(text) for text in values]
    return _Given(texts, "text", (f"{len(text)} {text}".encode() for text in texts))


def _columns(columns: Mapping[str, Any], missing: Collection[str], notice: Notice) -> _Given:
    if not 1 <= len(columns) <= MOST_COLUMNS:
        raise UserError(f"items: must have 1 to {MOST_COLUMNS} columns, found {len(columns)}")
    values = {str(name): listed_values(f"items[{name!r}]", one) for name, one in columns.items()}
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"items: columns must be of one length, found {lengths}")
    sheet = Sheet(TableColumns(features=tuple(values), missing=tuple(missing)), notice)
    rows = zip(*values.values(), strict=True)
    contents = [sheet.cells(dict(zip(values, row, strict=True))) for row in rows]
    return _Given(contents, "text", (f"{content.values!r}".encode() for content in contents))


def _pictures(array: NDArray[Any], levels: Levels) -> _Given:
    pixels = _as_bytes(_with_channels_last(array), levels)
    contents = [Encoded(partial(_png, picture)) for picture in pixels]
    side = max(SMALL_SIDE, min(pixels.shape[1:3]))
    pieces = (repr(pixels.shape).encode(), *(picture.tobytes() for picture in pixels))
    return _Given(contents, "image", pieces, side)


def _with_channels_last(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3:
        return array[..., None]
    if array.shape[3] in (1, 3, 4):
        return array
    if array.shape[1] in (1, 3):
        return array.transpose(0, 2, 3, 1)
    raise UserError(
        f"items: pictures must have 1, 3 or 4 channels, last, or 1 or 3 after N, found shape "
        f"{array.shape}"
    )


def _as_bytes(pixels: NDArray[Any], levels: Levels) -> NDArray[np.uint8]:
    try:
        return as_bytes(pixels, levels, white_of(pixels))
    except ValueError as error:
        raise UserError(f"items: pictures: {error}") from error


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    squeezed = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(squeezed)).save(file, "PNG", compress_level=0)
    return file.getvalue()


def _array(name: str, values: Any) -> NDArray[Any]:
    """Return a NumPy array of a NumPy array, a torch tensor or a list."""
    tensor = values.detach().cpu() if hasattr(values, "detach") else values
    try:
        return np.asarray(tensor)
    except ValueError as error:
        raise UserError(f"{name}: must be an array: {error}") from error


def _class_name(number: int, word: str, classes: Sequence[str]) -> str:
    place = {"false": 0, "true": 1}.get(word, int(word) if word.isdecimal() else -1)
    if not 0 <= place < len(classes):
        raise UserError(
            f"labels: must be numbers from 0 to {len(classes) - 1} with classes, found {word!r} at "
            f"item {number}"
        )
    return classes[place]
