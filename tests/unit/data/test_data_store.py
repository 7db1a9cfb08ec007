import errno
import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbridge.core import store
from fedbridge.core.errors import UserError
from fedbridge.core.store import Part, cache_folder, read_part, verify_part, write_part

NUMBER = 5


def a_part(**changes) -> Part:
    pictures = np.arange(NUMBER * 2 * 3 * 3, dtype=np.uint8).reshape(NUMBER, 2, 3, 3)
    part = Part(
        domain="plain",
        items=255 - pictures,
        inputs=pictures,
        labels=np.array([0, 1, 0, 1, 1]),
        groups=np.array([7, 7, 8, 9, 9]),
        classes=("a", "b"),
        licences=("free",),
        sources=("here 1.0",),
    )
    return replace(part, **changes)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cache" / "plain"
    write_part(folder, a_part())
    return folder


def leftovers(folder):
    return [path.name for path in folder.parent.iterdir() if path != folder]


def test_what_is_written_is_read_back_memory_mapped(folder):
    part, fingerprint = read_part(folder)
    expected = a_part()
    for name in ("items", "inputs", "labels", "groups"):
        array = getattr(part, name)
        assert isinstance(array, np.memmap)
        np.testing.assert_array_equal(array, getattr(expected, name))
        assert array.dtype == getattr(expected, name).dtype
    assert (part.domain, part.classes, part.licences, part.sources) == (
        "plain", ("a", "b"), ("free",), ("here 1.0",),
    )  # fmt: skip
    assert len(fingerprint) == 64
    assert leftovers(folder) == []


def test_mapped_arrays_cannot_be_written(folder):
    part, _ = read_part(folder)
    with pytest.raises(ValueError, match="read-only"):
        part.inputs[0] = 1


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_texts_survive_unchanged(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("texts") / "en"
    tokens = np.zeros((len(texts), 4), np.uint16)
    labels = np.zeros(len(texts), np.int64)
    write_part(folder, a_part(items=tuple(texts), inputs=tokens, labels=labels, groups=labels))
    part, _ = read_part(folder)
    assert part.items == tuple(texts)
    assert part.inputs.dtype == np.uint16


def test_equal_items_and_inputs_are_stored_once(tmp_path):
    pictures = a_part().inputs
    write_part(tmp_path / "plain", a_part(items=pictures, inputs=pictures))
    part, _ = read_part(tmp_path / "plain")
    assert not (tmp_path / "plain" / "items.npy").exists()
    assert part.items is part.inputs


def test_fingerprint_depends_on_content_alone(tmp_path):
    changes = [{}, {}, {"classes": ("a", "c")}, {"labels": np.array([1, 1, 0, 1, 1])}]
    for number, change in enumerate(changes):
        write_part(tmp_path / str(number), a_part(**change))
    one, same, renamed, relabelled = (read_part(tmp_path / str(n))[1] for n in range(4))
    assert one == same
    assert len({one, renamed, relabelled}) == 3


@pytest.mark.parametrize("name", ["items.npy", "inputs.npy", "labels.npy", "groups.npy"])
def test_a_missing_or_truncated_file_is_named_with_the_remedy(folder, name):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError) as caught:
        read_part(folder)
    assert str(caught.value) == (
        f"{path}: must have {len(content)} bytes, found {len(content) - 1}; "
        f"delete folder {folder} and run again"
    )
    path.unlink()
    with pytest.raises(UserError, match=f"{name}: is missing; delete folder"):
        read_part(folder)


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_small_files_are_hashed_on_every_load(folder):
    flip_last_byte(folder / "labels.npy")
    with pytest.raises(UserError, match=r"labels\.npy: must have the sha256 [0-9a-f]{64}, found"):
        read_part(folder)


def test_large_files_are_hashed_by_verify_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "ALWAYS_HASHED", 300)
    folder = tmp_path / "plain"
    write_part(folder, a_part(inputs=np.zeros((NUMBER, 1, 32, 32), np.uint8)))
    flip_last_byte(folder / "inputs.npy")
    read_part(folder)
    with pytest.raises(UserError, match=r"inputs\.npy: must have the sha256"):
        verify_part(folder)


def test_verify_accepts_what_is_whole(folder):
    verify_part(folder)


def test_a_missing_manifest_is_named_with_the_remedy(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(
        UserError, match=r"manifest\.json: cannot read this manifest: .*; delete folder .*plain and"
    ):
        read_part(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["b", "a"]},
        {"format": 2},
        {"files": {}},
        {"surprise": 1},
        {"fingerprint": "0" * 64},
        {"files": {"../../elsewhere.npy": {"bytes": 1, "sha256": "0"}}},
    ],
)
def test_a_changed_manifest_is_refused(folder, change):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"manifest\.json: is damaged: .*; delete folder"):
        read_part(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_manifest_that_is_no_json_is_refused(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(
        UserError,
        match=r"manifest\.json: this manifest (is damaged|must be).*; delete folder .*plain and",
    ):
        read_part(folder)


def test_a_pickle_is_never_opened(tmp_path, monkeypatch):
    folder = tmp_path / "plain"
    save = np.save
    monkeypatch.setattr(store.np, "save", lambda path, array, allow_pickle: save(path, array))
    write_part(folder, a_part(groups=np.array([{}] * NUMBER, object)))
    with pytest.raises(UserError, match=r"groups\.npy: is not an array: .*pickle"):
        read_part(folder)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run again"),
        (errno.EDQUOT, "the disk is full; free some space and run again"),
        (errno.EROFS, "cannot store here: .*; set FEDBRIDGE_CACHE to another folder"),
    ],
)
def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path, monkeypatch, number, message):
    save = np.save

    def fail_at_the_labels(path, array, allow_pickle):
        save(path, array, allow_pickle=allow_pickle)
        if path.name == "labels.npy":
            raise OSError(number, "refused")

    monkeypatch.setattr(store.np, "save", fail_at_the_labels)
    with pytest.raises(UserError, match=f"{tmp_path / 'plain'}: {message}"):
        write_part(tmp_path / "plain", a_part())
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "file_sha256", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_part(tmp_path / "plain", a_part())
    assert list(tmp_path.iterdir()) == []


def test_writing_again_keeps_the_first(folder):
    _, before = read_part(folder)
    write_part(folder, a_part(classes=("a", "c")))
    assert read_part(folder)[1] == before
    assert leftovers(folder) == []


def write_when_all_are_there(barrier, folder):
    barrier.wait(timeout=20)
    write_part(folder, a_part(inputs=np.ones((NUMBER, 1, 200, 200), np.uint8)))


def test_processes_that_write_at_once_leave_one_whole_part(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    folder = tmp_path / "plain"
    writers = [
        context.Process(target=write_when_all_are_there, args=(barrier, folder)) for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=30)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    verify_part(folder)
    assert leftovers(folder) == []


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("FEDBRIDGE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "fedbridge"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "fedbridge"
