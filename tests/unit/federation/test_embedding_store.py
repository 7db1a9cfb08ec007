"""The store of embeddings: encoded once, never half-written, never with bad numbers."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.core.locks import holding, lock_at
from fedbridge.data.dataset import Dataset
from fedbridge.federation import embeddings
from fedbridge.federation.embeddings import embed_dataset
from fedbridge.models.fm.foundation import Items

Hook = Callable[[Tensor], Tensor]


@dataclass
class Counting:
    """An FM that returns (value, 1, 2) of a picture, and remembers what it was given."""

    name: str = "counting"
    modality: Literal["image", "text", "any"] = "image"
    dimension: int = 3
    fingerprint: str = "f00"
    change: Hook = lambda vectors: vectors
    seen: list[int] = field(default_factory=list)
    calls: int = 0

    def encode(self, items: Items) -> Tensor:
        self.calls += 1
        values = [
            int(item[0, 0, 0]) if isinstance(item, np.ndarray) else len(item) for item in items
        ]
        self.seen += values
        return self.change(torch.tensor([[float(value), 1.0, 2.0] for value in values]))


def pictures(count: int = 100) -> Dataset:
    items = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    zeros = np.zeros(count, dtype=np.int64)
    return Dataset("toy", "image", items, items, zeros, zeros, zeros, ("a",), ("d",), "da7a", ())


def texts() -> Dataset:
    items = ("ccc", "a", "dddd", "bb")
    ids = np.zeros((4, 8), dtype=np.uint16)
    zeros = np.zeros(4, dtype=np.int64)
    return Dataset("toy", "text", items, ids, zeros, zeros, zeros, ("a",), ("d",), "da7b", ())


def folder(cache: Path) -> Path:
    return cache / "embeddings" / "f00-da7a"


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = embed_dataset(Counting(), pictures(), np.array([7, 3, 5]), tmp_path, 2)

    rows = store[np.array([5, 7, 5])]

    assert rows.dtype == np.float32
    assert rows.tolist() == [[5, 1, 2], [7, 1, 2], [5, 1, 2]]
    rows[:] = 0  # a copy: the store is not touched
    assert store[np.array([5])].tolist() == [[5, 1, 2]]


def test_an_item_is_encoded_once_ever(tmp_path: Path) -> None:
    fm = Counting()

    embed_dataset(fm, pictures(), np.array([1, 2, 3, 2]), tmp_path, 10)
    embed_dataset(fm, pictures(), np.array([2, 3, 4, 5]), tmp_path, 10)
    embed_dataset(Counting(), pictures(), np.array([1, 5]), tmp_path, 10)

    assert fm.seen == [1, 2, 3, 4, 5]
    assert fm.calls == 2


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(st.lists(st.integers(0, 39), max_size=12), min_size=1, max_size=5),
    batch=st.integers(1, 7),
)
def test_any_requests_encode_each_wanted_item_exactly_once(
    requests: list[list[int]], batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache, fm = tmp_path_factory.mktemp("cache"), Counting()

    for request in requests:
        indices = np.array(request, dtype=np.int64)
        store = embed_dataset(fm, pictures(40), indices, cache, batch)
        assert store[indices][:, 0].tolist() == request

    assert sorted(fm.seen) == sorted({index for request in requests for index in request})


def test_a_row_that_was_never_encoded_is_not_given_out(tmp_path: Path) -> None:
    store = embed_dataset(Counting(), pictures(), np.array([1]), tmp_path, 4)

    with pytest.raises(KeyError, match="item 2 has no embedding"):
        store[np.array([1, 2])]


def test_another_model_or_other_data_have_a_store_of_their_own(tmp_path: Path) -> None:
    fm, other = Counting(), Counting(fingerprint="f01")
    embed_dataset(fm, pictures(), np.array([1]), tmp_path, 4)

    embed_dataset(other, pictures(), np.array([1]), tmp_path, 4)
    embed_dataset(fm, replace(pictures(), fingerprint="da7c"), np.array([1]), tmp_path, 4)

    assert (fm.seen, other.seen) == ([1, 1], [1])


def test_texts_are_encoded_by_length_and_kept_in_place(tmp_path: Path) -> None:
    fm = Counting(modality="text")

    store = embed_dataset(fm, texts(), np.arange(4), tmp_path, 2)

    assert fm.seen == [1, 2, 3, 4]
    assert store[np.arange(4)][:, 0].tolist() == [3, 1, 4, 2]


def test_progress_is_told_what_is_done_of_what_is_missing(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    embed_dataset(Counting(), pictures(), np.array([0]), tmp_path, 2)

    embed_dataset(
        Counting(), pictures(), np.arange(6), tmp_path, 2, lambda *pair: told.append(pair)
    )

    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_killed_run_goes_on_where_its_last_save_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "BATCHES_PER_SAVE", 2)

    def die_at_fifty(vectors: Tensor) -> Tensor:
        if vectors[:, 0].max() >= 50:
            raise KeyboardInterrupt
        return vectors

    with pytest.raises(KeyboardInterrupt):
        embed_dataset(Counting(change=die_at_fifty), pictures(), np.arange(100), tmp_path, 10)
    fm = Counting()
    store = embed_dataset(fm, pictures(), np.arange(100), tmp_path, 10)

    assert fm.seen == list(range(40, 100))  # 40 to 49 had been encoded, but not saved
    assert store[np.arange(100)][:, 0].tolist() == list(range(100))


def test_rows_without_the_word_that_they_are_done_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(draft: Path, place: Path) -> None:
        raise KeyboardInterrupt

    embed_dataset(Counting(), pictures(), np.array([0]), tmp_path, 4)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", die)
        embed_dataset(Counting(), pictures(), np.arange(8), tmp_path, 4)
    fm = Counting()
    embed_dataset(fm, pictures(), np.arange(8), tmp_path, 4)

    assert fm.seen == list(range(1, 8))


def test_a_store_that_was_never_finished_laying_out_is_laid_out_again(tmp_path: Path) -> None:
    folder(tmp_path).mkdir(parents=True)
    (folder(tmp_path) / "vectors.npy").write_bytes(b"half")

    store = embed_dataset(Counting(), pictures(), np.array([9]), tmp_path, 4)

    assert store[np.array([9])].tolist() == [[9, 1, 2]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_are_refused_and_not_stored(
    tmp_path: Path, value: float
) -> None:
    def spoil(vectors: Tensor) -> Tensor:
        vectors[(vectors[:, 0] == 6) | (vectors[:, 0] == 7), 1] = value
        return vectors

    with pytest.raises(
        UserError, match=r"'counting' .*2 of 8 items of 'toy', the first being item 6"
    ):
        embed_dataset(Counting(change=spoil), pictures(), np.arange(8), tmp_path, 8)
    fm = Counting()
    embed_dataset(fm, pictures(), np.arange(8), tmp_path, 8)

    assert fm.seen == list(range(8))


def test_a_result_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    fm = Counting(change=lambda vectors: vectors[:, :2])

    with pytest.raises(UserError, match=r"must return \(4, 3\) for 4 items, found \(4, 2\)"):
        embed_dataset(fm, pictures(), np.arange(4), tmp_path, 8)


def test_a_model_for_texts_is_refused_before_any_work(tmp_path: Path) -> None:
    fm = Counting(modality="text")

    with pytest.raises(UserError, match="'counting' reads text, but the data set 'toy' is image"):
        embed_dataset(fm, pictures(), np.arange(4), tmp_path, 8)
    assert fm.calls == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["vectors.npy", "done.npy"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "foreign", "pickle"])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, name: str, damage: str) -> None:
    embed_dataset(Counting(), pictures(), np.arange(4), tmp_path, 8)
    path = folder(tmp_path) / name
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-5])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "missing":
        path.unlink()
    elif damage == "foreign":
        np.save(path, np.zeros(7))
    else:
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    with pytest.raises(UserError, match=rf"{name}.*delete the folder .*f00-da7a and run again"):
        embed_dataset(Counting(), pictures(), np.arange(4), tmp_path, 8)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")

    with pytest.raises(UserError, match="f00-da7a: cannot store here"):
        embed_dataset(Counting(), pictures(), np.arange(4), blocked, 8)


def test_a_second_process_waits_and_then_finds_the_work_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Counting(), Counting()
    embed_dataset(first, pictures(), np.array([0]), tmp_path, 4)
    finished = threading.Event()

    def work() -> None:
        embed_dataset(second, pictures(), np.arange(8), tmp_path, 4)
        finished.set()

    with holding(lock_at(folder(tmp_path) / "lock")), caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=work)
        thread.start()
        assert not finished.wait(0.2)
        assert second.calls == 0
    thread.join(10)

    assert finished.is_set()
    assert second.seen == list(range(1, 8))
    assert "waiting for another process" in caplog.text


def test_many_at_once_encode_every_item_once(tmp_path: Path) -> None:
    models = [Counting() for _ in range(4)]
    threads = [
        threading.Thread(target=embed_dataset, args=(fm, pictures(), np.arange(k, 60), tmp_path, 4))
        for k, fm in enumerate(models)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(value for fm in models for value in fm.seen) == list(range(60))
