"""``fashion``: the 70,000 pictures of Fashion-MNIST, from Debian."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.errors import UserError
from fedbridge.core.packages import Package, fetch
from fedbridge.core.store import Part
from fedbridge.data.spec import DataSource

PACKAGE = Package("apt", "dataset-fashion-mnist", 30.9)
LICENCE = "Fashion-MNIST, MIT, (c) 2017 Zalando SE (Debian dataset-fashion-mnist)"
CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip
MARGIN = 2  # black pixels on every side make 32 of 28


def prepare(domains: tuple[str, ...], workspace: Path) -> Iterator[Part]:
    """Yield the one domain: pictures ``(70000, 1, 32, 32)``, every item its own group.

    The official test pictures come last; scenarios make their own division.
    """
    fetched = fetch(PACKAGE, workspace, lambda name: name.endswith("-ubyte.gz"))
    files = {path.name.rsplit("-", 2)[0]: path for path in fetched.folder.rglob("*.gz")}
    if missing := {"train-images", "train-labels", "t10k-images", "t10k-labels"} - set(files):
        raise UserError(f"{PACKAGE.label}: must hold {sorted(missing)}, found {sorted(files)}")
    pictures = np.concatenate([read_idx(files[f"{half}-images"]) for half in ("train", "t10k")])
    labels = np.concatenate([read_idx(files[f"{half}-labels"]) for half in ("train", "t10k")])
    edges = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    padded = np.pad(pictures, edges)[:, None]
    yield Part(
        domain="fashion",
        items=padded,
        inputs=padded,
        labels=labels.astype(np.int64),
        groups=np.arange(len(padded), dtype=np.int64),
        classes=CLASSES,
        licences=(LICENCE,),
        sources=(fetched.source,),
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes: two zeros, type 8, rank, big-endian sizes, content."""
    try:
        content = gzip.decompress(path.read_bytes())
        rank = content[3]
        shape = np.frombuffer(content, ">u4", rank, offset=4)
        flat = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise UserError(f"{path.name}: must be a gzipped IDX file: {error}") from error
    if content[:3] != b"\0\0\x08":
        raise UserError(f"{path.name}: must begin with 00 00 08, found {content[:3].hex(' ')}")
    if len(flat) != shape.prod():
        raise UserError(f"{path.name}: must hold {shape.tolist()} bytes, found {len(flat)}")
    return flat.reshape(shape)


FASHION = DataSource(
    parts=prepare,
    summary="70,000 pictures of clothes, 10 classes",
    domains=("fashion",),
    licences=(LICENCE,),
    packages=(PACKAGE,),
)
