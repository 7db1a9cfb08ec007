"""How something new becomes what models read: files, pictures, arrays and texts."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.errors import UserError
from fedbridge.core.store import Images, Texts
from fedbridge.core.tokens import tokenize
from fedbridge.data.readers.pictures import read_file
from fedbridge.data.readers.pixels import (
    MOST_PIXELS,
    Encoded,
    Levels,
    as_bytes,
    decode_picture,
    draw_picture,
    shown,
    white_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image

ALIKE = 8.0
"""Mean difference in grey levels up to which one way to draw is taken for another."""
SAMPLE = 16
Inputs = Images | NDArray[np.uint16]


@dataclass(frozen=True)
class Reading:
    """The shapes that models read, and how a picture is drawn or a text is cut for the small one.

    ``inputs`` is ``(C, S, S)`` or ``(L,)``; ``items`` is what the FM reads, ``(C, H, H)``, and
    empty for texts.
    """

    modality: Literal["image", "text"]
    inputs: tuple[int, ...]
    items: tuple[int, ...] = ()
    known: bool = True
    """Whether the inputs can be made from the items at all."""
    box: bool = False
    """Whether pictures are shrunk by averaging rather than by Lanczos's filter."""
    inverted: bool = False
    """Whether the small model reads white for black."""
    levels: tuple[float, float] | None = None
    """What is black and white in pictures of more than 8 bits, where the data's settings say it."""

    def __post_init__(self) -> None:
        if self.levels is not None and not self.levels[0] < self.levels[1]:
            raise ValueError(f"levels: must be black and a larger white, found {self.levels}")

    @classmethod
    def of(cls, items: Images | Texts, inputs: Inputs) -> "Reading":
        """Infer from items of a data set, and their inputs, how these were made of those."""
        shape = tuple(inputs.shape[1:])
        if not isinstance(items, np.ndarray):
            texts = zip(items[:SAMPLE], inputs[:SAMPLE], strict=True)
            same = all(np.array_equal(tokenize(text), tokens) for text, tokens in texts)
            return cls("text", shape, known=same)
        if items.shape[2] != items.shape[3]:
            return cls("image", shape, items.shape[1:], known=False)
        wanted = inputs[:SAMPLE].astype(float)
        found = []
        for box, inverted in product((False, True), (False, True)):
            reading = cls("image", shape, items.shape[1:], True, box, inverted)
            drawn, _ = reading(items[:SAMPLE])
            found.append((float(np.abs(drawn.astype(float) - wanted).mean()), reading))
        difference, best = min(found, key=lambda pair: pair[0])
        return best if difference <= ALIKE else cls("image", shape, items.shape[1:], known=False)

    def __call__(self, raw: Any, most: int = MOST_PIXELS) -> tuple[Inputs, Images | Texts]:
        """Return the inputs ``(n, ...)`` of small models and the items as the FM reads them.

        ``raw`` is a list of texts; or of pictures: paths, bytes of files, PIL pictures, or
        arrays ``(H, W)`` or ``(H, W, C)`` of whole numbers to 255, floats to 1 or what the levels
        say; or one array of pictures, which may be stored as items are, ``(n, C, H, H)``. Raises
        UserError naming the item, what it must be and what was
        found, also if a file has more than ``most`` pixels.
        """
        if not self.known:
            raise UserError(
                "x: cannot be read: what the small model reads of this data set is neither drawn "
                "from the pictures nor cut from the texts that the foundation model reads"
            )
        if isinstance(raw, str | bytes | os.PathLike) or not hasattr(raw, "__len__"):
            raise UserError(f"x: must be a list or an array of {self.modality}s, found {raw!r:.80}")
        if not len(raw):
            raise UserError(f"x: must have at least one {self.modality}, found none")
        if self.modality == "text":
            texts = tuple(_text(place, one) for place, one in enumerate(raw))
            return np.stack([tokenize(text) for text in texts]), texts
        drawn = [self._drawn(picture) for picture in self._pictures(raw, most)]
        return np.stack([small for small, _ in drawn]), np.stack([item for _, item in drawn])

    def _drawn(self, picture: "Image") -> tuple[Images, Images]:
        small = _in_channels(draw_picture(picture, self.inputs[1], self.box), self.inputs[0])
        item = _in_channels(draw_picture(picture, self.items[1]), self.items[0])
        return (255 - small if self.inverted else small), item

    def _pictures(self, raw: Sequence[Any], most: int) -> Iterator["Image"]:
        """Yield pictures one by one: as files they are small, but not in memory."""
        if isinstance(raw, np.ndarray) and raw.ndim == 4 and raw.shape[1:] == self.items:
            raw = raw.transpose(0, 2, 3, 1)
        levels = Levels(self.levels)
        return (_picture(f"x[{place}]", one, levels, most) for place, one in enumerate(raw))


def _text(place: int, one: Any) -> str:
    if not isinstance(one, str) or not one.strip():
        raise UserError(f"x[{place}]: must be a text that is not empty, found {one!r:.80}")
    return one


def _picture(place: str, one: Any, levels: Levels, most: int) -> "Image":
    from PIL import Image

    if isinstance(one, np.ndarray):
        return _of_array(place, one, levels)
    if isinstance(one, Image.Image):
        read = partial(shown, one, levels)
    elif isinstance(one, str | os.PathLike):
        place = str(one)
        read = partial(decode_picture, Encoded(partial(read_file, Path(one)), levels), most)
    elif isinstance(one, bytes):
        read = partial(decode_picture, Encoded(lambda: one, levels), most)
    else:
        raise UserError(
            f"{place}: must be a path, the bytes of a file, a PIL picture or an array, found "
            f"{type(one).__name__}"
        )
    try:
        return read()
    except Exception as error:  # decoders raise whatever they like
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{place}: cannot be read as a picture: {reason}") from error


def _of_array(place: str, array: NDArray[Any], levels: Levels) -> "Image":
    from PIL import Image

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not fits or not array.size:
        raise UserError(
            f"{place}: must be an array (H, W), (H, W, 3) or (H, W, 4), found {array.dtype} "
            f"{array.shape}"
        )
    try:
        pixels = as_bytes(array, levels, white_of(array))
    except ValueError as error:
        raise UserError(f"{place}: cannot be read as a picture: {error}") from error
    return Image.fromarray(np.ascontiguousarray(pixels))


def _in_channels(picture: Images, channels: int) -> Images:
    from PIL import Image

    if len(picture) == channels:
        return picture
    grey = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).convert("L")
    pixels: Images = np.asarray(grey)
    return pixels[None]
