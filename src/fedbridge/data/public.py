"""The public set ``U``: of the clients' own data set, of another one, or of no data at all."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import Data, PublicHub, checked_options, is_module, kind_of, title_of
from fedbridge.core.entries import FORM
from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.core.store import Images, Texts, cache_folder, content_fingerprint
from fedbridge.core.tokens import tokenize
from fedbridge.data import DATASETS, FORMS, load_dataset, source_of
from fedbridge.data.dataset import Dataset
from fedbridge.data.hub.hub import PREFIX
from fedbridge.data.shapes import dead_leaves
from fedbridge.data.streams.scenario import Streams
from fedbridge.data.streams.splits import Indices

SET = "set:"
"""What the name of a public set begins with that each side has put where it keeps such sets."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


@dataclass(frozen=True, eq=False)
class PublicSet:
    """``U``: rows ``(n,)`` of a data set, for the FM, and the same as the small models read it."""

    dataset: Dataset
    rows: Indices
    inputs: Images | NDArray[np.uint16]  # (n, ...), of the shape of the clients' inputs

    @property
    def items(self) -> Images | Texts:
        """Return the items as the FM reads them."""
        return items_at(self.dataset, self.rows)


def check_public(settings: Data) -> None:
    """Raise UserError if ``data.public`` names nothing, before any work is done."""
    name = settings.public
    if name.startswith(SET):
        _set_here(name)
    elif is_module(name):
        source = source_of(name, "data.public")
        checked_options(source.options, settings.public_options, "data.public_options", name)
    elif name not in ("same", "none", *DATASETS) and not (name.startswith(PREFIX) or kind_of(name)):
        known = ", ".join((*DATASETS, *FORMS, FORM))
        raise UserError(f"data.public: must be same, none, set:NAME, {known}, found {name!r}")


def name_here(public: str) -> str:
    """Return the name by which another data set of public items is loaded on this machine."""
    return PREFIX + str(_set_here(public)) if public.startswith(SET) else public


def _set_here(public: str) -> Path:
    """Return the folder of a set; raise UserError if the name is unfit or there is none."""
    name = public.removeprefix(SET)
    if not NAME.fullmatch(name):
        raise UserError(
            f"data.public: the name after {SET!r} must be letters, digits, dots, hyphens and "
            f"underscores, for it names no path, found {name!r}"
        )
    folder = cache_folder() / "public" / name
    if not folder.is_dir():
        raise UserError(
            f"data.public: {public!r} must be at {folder} here, as save_to_disk of Hugging Face "
            f"datasets has written it, found no such folder"
        )
    return folder


def public_set(settings: Data, dataset: Dataset, streams: Streams, seed: int) -> PublicSet:
    """Return U; the clients' streams are the same whatever it is made of.

    Raises UserError if another data set is unknown, of another kind or too small, or holds an
    item that a client holds too.
    """
    check_public(settings)
    count = settings.public_items or len(streams.public)
    if settings.public == "same":
        return PublicSet(dataset, streams.public, dataset.inputs[streams.public])
    if settings.public == "none":
        drawn = _drawn(dataset, count, seed)
        return PublicSet(drawn, np.arange(count), _as_inputs(drawn.inputs, dataset))
    own = settings.public_own
    hub = PublicHub(levels=own.levels, broken=own.broken)
    options = settings.public_options
    here = name_here(settings.public)
    other = load_dataset(here, hub=hub, own=own.as_read(), options=options)
    if other.modality != dataset.modality:
        raise UserError(
            f"data.public: must be a data set of {dataset.modality}s as {dataset.name!r} is, found "
            f"{title_of(settings.public)!r}, of {other.modality}s"
        )
    if len(other) < count:
        raise UserError(
            f"data.public: {count} items are wanted, {title_of(settings.public)!r} has "
            f"{len(other)}; set data.public_items"
        )
    name = title_of(settings.public)  # wherever own files lie, the same ones are drawn
    rows = np.sort(rng_for(seed, "public", name).permutation(len(other))[:count])
    tasks = [task for client in streams.clients for task in client.tasks]
    parts = [part for t in tasks for part in (t.own, t.train, t.validation, t.test)]
    held = np.unique(np.concatenate([*parts, np.zeros(0, np.int64)]))
    public = PublicSet(other, rows, _as_inputs(other.inputs[rows], dataset))
    refuse_overlap(public, items_at(dataset, held), dataset.name)
    return public


def items_at(dataset: Dataset, rows: Indices) -> Images | Texts:
    """Return items of a data set as the FM reads them."""
    if isinstance(dataset.items, tuple):
        return tuple(dataset.items[row] for row in rows.tolist())
    return dataset.items[rows]


def refuse_overlap(public: PublicSet, items: Images | Texts, name: str) -> None:
    """Raise UserError if a public item equals one that a client trains, validates or tests on."""
    held = {digest(item) for item in items}
    common = sum(digest(item) in held for item in public.items)
    if common:
        raise UserError(
            f"data.public: must hold no item of a client's, found {common} of {len(public.rows)} "
            f"items of {public.dataset.name!r} that are also in {name!r}, byte for byte"
        )


def digest(item: NDArray[np.uint8] | str) -> bytes:
    """Return the sha256 of an item as the FM reads it."""
    content = (
        item.encode() if isinstance(item, str) else item.tobytes() + bytes(str(item.shape), "ascii")
    )
    return hashlib.sha256(content).digest()


def _as_inputs(
    inputs: Images | NDArray[np.uint16], dataset: Dataset
) -> Images | NDArray[np.uint16]:
    """Bring pictures to the channels and the side of a data set's inputs; texts are as they are."""
    if dataset.modality == "text" or inputs.shape[1:] == dataset.inputs.shape[1:]:
        return inputs
    channels, *side = dataset.inputs.shape[1:]
    return np.stack([_redrawn(picture, channels, (side[1], side[0])) for picture in inputs])


def _redrawn(picture: Images, channels: int, size: tuple[int, int]) -> Images:
    from PIL import Image

    grey = len(picture) == 1
    image = Image.fromarray(picture[0]) if grey else Image.fromarray(picture.transpose(1, 2, 0))
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)  # averages where it shrinks
    pixels: Images = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _drawn(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return ``count`` items of no data: shapes as large as the items, or nonsense words."""
    rng = rng_for(seed, "public", "none")
    items: Images | Texts
    inputs: Images | NDArray[np.uint16]
    if isinstance(dataset.items, tuple):
        items = tuple(_nonsense(rng) for _ in range(count))
        inputs = np.stack([tokenize(text) for text in items])
    else:
        items = inputs = dead_leaves(dataset.items.shape[1:], count, rng)
    zeros = np.zeros(count, np.int64)
    return Dataset(
        name="none",
        modality=dataset.modality,
        items=items,
        inputs=inputs,
        labels=zeros,
        domains=zeros,
        groups=np.arange(count, dtype=np.int64),
        classes=("none",),
        domain_names=("none",),
        fingerprint=content_fingerprint([digest(item).hex() for item in _each(items)]),
        licences=(),
    )


def _each(items: Images | Texts) -> Sequence[NDArray[np.uint8] | str]:
    return items if isinstance(items, tuple) else list(items)


def _nonsense(rng: np.random.Generator) -> str:
    """Return 3 to 12 words of 2 to 9 letters, all drawn uniformly."""
    lengths = rng.integers(2, 10, rng.integers(3, 13))
    return " ".join("".join(rng.choice(LETTERS, length)) for length in lengths)
