"""Every item is encoded by the FM once, ever: a store on disk of rows and of which are done."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedbridge.core.errors import UserError
from fedbridge.core.files import written
from fedbridge.core.locks import lock_at, taken
from fedbridge.core.store import storage_errors
from fedbridge.data.dataset import Dataset
from fedbridge.models.fm.foundation import FoundationModel
from fedbridge.models.fm.proof import encoded, prove

log = logging.getLogger(__name__)

VECTORS, DONE, MANIFEST = "vectors.npy", "done.npy", "manifest.json"
BATCHES_PER_SAVE = 16  # at most this much work is lost when the process is killed

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class EmbeddingStore:
    """The embeddings ``(N, D)`` of a data set's items, memory-mapped."""

    vectors: NDArray[np.float32]  # (N, D)
    done: NDArray[np.bool_]  # (N,)
    public: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """The embeddings ``(|U|, D)`` of the public set, whatever data set it is of."""

    def __getitem__(self, indices: Rows) -> NDArray[np.float32]:
        """Return a copy of rows ``(n, D)``; raises KeyError if one was never encoded."""
        rows = np.asarray(indices, dtype=np.int64)
        if not self.done[rows].all():
            raise KeyError(f"item {rows[~self.done[rows]][0]} has no embedding yet")
        return np.array(self.vectors[rows])


def no_embeddings(items: int) -> EmbeddingStore:
    """Return what stands for embeddings ``(N, 1)`` where there is no large side."""
    return EmbeddingStore(np.zeros((items, 1), np.float32), np.ones(items, np.bool_))


def embed_dataset(
    fm: FoundationModel,
    dataset: Dataset,
    indices: Rows,
    cache_dir: Path,
    batch: int,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddingStore:
    """Return the embeddings of a data set, complete for at least ``indices``.

    Only items that were never encoded are, ``batch`` at a time; ``progress`` is called with (done,
    wanted). Another process at the same work is waited for. Raises UserError if an embedding is
    not finite, the FM cannot read the data, stored files are damaged or the disk is full.
    """
    if fm.modality not in (dataset.modality, "any"):
        raise UserError(
            f"large.model: {fm.name!r} reads {fm.modality}, but the data set {dataset.name!r} is "
            f"{dataset.modality}"
        )
    folder = _folder(fm, dataset, cache_dir)
    shape = (len(dataset), _width(fm, dataset))
    wanted = np.unique(np.asarray(indices, dtype=np.int64))
    if not (folder / MANIFEST).is_file() or not _open(folder, shape).done[wanted].all():
        with _locked(folder):
            _prepare(folder, fm, dataset, shape)
            done = np.array(_open(folder, shape).done)
            missing = wanted[~done[wanted]]
            if progress is None and len(missing) > batch:
                log.info("%s encodes %d items of %s", fm.name, len(missing), dataset.name)
            _encode(fm, dataset, missing, batch, _Saver(folder, done, progress))
    return _open(folder, shape)


def try_on(fm: FoundationModel, dataset: Dataset, cache_dir: Path, batch: int) -> None:
    """Try an FM on a data set of which it has not encoded any item yet; raises as ``prove``."""
    done = _folder(fm, dataset, cache_dir) / DONE
    if not done.is_file() or not _load(done, (len(dataset),), np.dtype(np.bool_), None).any():
        prove(fm, dataset.items, batch, partial(_place, dataset))


def _folder(fm: FoundationModel, dataset: Dataset, cache_dir: Path) -> Path:
    return cache_dir / "embeddings" / f"{fm.fingerprint}-{dataset.fingerprint}"


@dataclass(frozen=True)
class _Saver:
    """Puts finished rows into the store: first the rows, then the word that they are done."""

    folder: Path
    done: NDArray[np.bool_]  # (N,)
    progress: Callable[[int, int], None] | None

    def save(self, rows: Rows, vectors: NDArray[np.float32]) -> None:
        path = self.folder / VECTORS
        with storage_errors(self.folder):
            offset = np.load(path, mmap_mode="r", allow_pickle=False).offset
            # written, not mapped: a full disk is then an error with a message, not a SIGBUS
            with path.open("r+b") as file:
                for row, vector in zip(rows.tolist(), vectors, strict=True):
                    file.seek(offset + row * vector.nbytes)
                    file.write(vector.tobytes())
                file.flush()
                os.fsync(file.fileno())
            self.done[rows] = True
            _replace(self.folder / DONE, self.done)

    def tell(self, count: int, total: int) -> None:
        if self.progress is not None:
            self.progress(count, total)


def _encode(fm: FoundationModel, dataset: Dataset, rows: Rows, batch: int, saver: _Saver) -> None:
    if isinstance(dataset.items, tuple):
        # texts of like length together: little padding
        rows = np.array(sorted(rows.tolist(), key=lambda i: len(dataset.items[i])), dtype=np.int64)
    parts: list[NDArray[np.float32]] = []
    saved = 0
    for start in range(0, len(rows), batch):
        chunk = rows[start : start + batch]
        found = encoded(fm, dataset.items, chunk, partial(_place, dataset))
        parts.append(_checked(fm, dataset, chunk, found.numpy()))
        count = start + len(chunk)
        if len(parts) == BATCHES_PER_SAVE or count == len(rows):
            saver.save(rows[saved:count], np.concatenate(parts))
            parts, saved = [], count
        saver.tell(count, len(rows))


def _checked(
    fm: FoundationModel, dataset: Dataset, rows: Rows, vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    if vectors.shape != (len(rows), fm.dimension):
        raise UserError(
            f"large.model: {fm.name!r} must return {(len(rows), fm.dimension)} for {len(rows)} "
            f"items, found {vectors.shape}"
        )
    bad = rows[~np.isfinite(vectors).all(axis=1)]
    if len(bad):
        raise UserError(
            f"large.model: {fm.name!r} must return finite numbers, found NaN or infinity for "
            f"{len(bad)} of {len(rows)} items of {dataset.name!r}, the first being item {bad.min()}"
        )
    return vectors.astype(np.float32, copy=False)


def _width(fm: FoundationModel, dataset: Dataset) -> int:
    """Return D; an FM that does not know it encodes an item, and then does."""
    if fm.dimension is not None:
        return fm.dimension
    first = np.zeros(1, np.int64)
    return int(encoded(fm, dataset.items, first, partial(_place, dataset)).shape[1])


def _place(dataset: Dataset, row: int) -> str:
    where = f" ({dataset.places[row]})" if dataset.places else ""
    return f"{row} of {dataset.name!r}{where}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``; the system frees it if the process is killed."""
    lock = lock_at(folder / "lock")
    with storage_errors(folder):
        if not taken(lock):
            log.warning("%s: waiting for another process that encodes the same data", folder)
            taken(lock, inf)
    try:
        yield
    finally:
        lock.release()


def _prepare(folder: Path, fm: FoundationModel, dataset: Dataset, shape: tuple[int, int]) -> None:
    """Lay out an empty store unless there is one; its manifest comes last."""
    if (folder / MANIFEST).is_file():
        return
    about = {"model": fm.name, "data": dataset.name, "shape": shape}
    with storage_errors(folder):
        with written(folder / VECTORS) as draft:
            # sparse: takes room only as rows come in
            np.lib.format.open_memmap(draft, "w+", np.dtype(np.float32), shape).flush()
        _replace(folder / DONE, np.zeros(len(dataset), dtype=np.bool_))
        with written(folder / MANIFEST) as draft:
            draft.write_text(json.dumps(about), encoding="utf-8")


def _replace(path: Path, array: NDArray[np.bool_]) -> None:
    with written(path, synced=True) as draft, draft.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _open(folder: Path, shape: tuple[int, int]) -> EmbeddingStore:
    vectors = _load(folder / VECTORS, shape, np.dtype(np.float32), "r")
    done = _load(folder / DONE, shape[:1], np.dtype(np.bool_), None)
    return EmbeddingStore(vectors, done)


def _load(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Literal["r"] | None
) -> NDArray[Any]:
    advice = f"delete the folder {path.parent} and run again"
    try:
        array: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: damaged store of embeddings ({error}); {advice}") from error
    if array.shape != shape or array.dtype != dtype:
        raise UserError(
            f"{path}: must hold {dtype} {shape}, found {array.dtype} {array.shape}; {advice}"
        )
    return array
