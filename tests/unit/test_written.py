"""Files and folders are whole or not there, whatever happens while they are written."""

import errno
import os
import re
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fedbridge.core.errors import UserError
from fedbridge.core.files import recover, write_text, writing, written, written_folder
from fedbridge.core.saved import opened, saved_kind, saving

FAULTS = [KeyboardInterrupt(), RuntimeError("half"), OSError(errno.ENOSPC, "full")]


class Killed(BaseException):
    """Stands for the end of a process: nothing that comes after it is carried out."""


@contextmanager
def killed_at(monkeypatch, call, target):
    """From the moment that ``call`` would give something the name ``target`` nothing is done."""
    dead, real = [], {}

    def dying(name):
        def act(self, *args, **kwargs):
            if name == call and Path(args[0]) == target and Path(self).suffix == ".partial":
                dead.append(True)
            if dead:
                raise Killed
            return real[name](self, *args, **kwargs)

        return act

    with monkeypatch.context() as patch:
        for name in ("rename", "replace", "unlink"):
            real[name] = getattr(Path, name)
            patch.setattr(Path, name, dying(name))
        patch.setattr("shutil.rmtree", lambda *args, **kwargs: None)
        with suppress(Killed):
            yield
    assert dead


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fill(draft, text):
    (draft / "a").write_text(text)
    (draft / "deep").mkdir()
    (draft / "deep" / "b").write_text(text)


def content(folder):
    return (folder / "a").read_text(), (folder / "deep" / "b").read_text()


# -- files


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("synced", [False, True])
def test_a_file_takes_the_place_of_the_former_one(tmp_path, shared, synced):
    for text in ("one", "two"):
        with written(tmp_path / "f.txt", shared, synced) as draft:
            assert draft.parent == tmp_path and draft.suffix == ".partial"
            draft.write_text(text)
            assert not (tmp_path / "f.txt").exists() or (tmp_path / "f.txt").read_text() == "one"
        assert (tmp_path / "f.txt").read_text() == text
    assert names(tmp_path) == ["f.txt"]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_leaves_the_former_file_and_no_draft(tmp_path, shared, fault):
    (tmp_path / "f.txt").write_text("one")
    with pytest.raises(type(fault)), written(tmp_path / "f.txt", shared) as draft:
        draft.write_text("tw")
        raise fault
    assert (tmp_path / "f.txt").read_text() == "one"
    assert names(tmp_path) == ["f.txt"]


def test_a_file_that_is_synced_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda file: seen.append(names(tmp_path)))
    with written(tmp_path / "f.txt", synced=True) as draft:
        draft.write_text("one")
    assert seen == [["f.txt.partial"]]


def test_files_written_at_the_same_time_do_not_meet(tmp_path):
    with written(tmp_path / "f", shared=True) as one, written(tmp_path / "f", shared=True) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "f").read_text() == "one"  # which was finished last
    assert names(tmp_path) == ["f"]


def test_what_is_left_of_a_killed_write_is_written_over(tmp_path, monkeypatch):
    (tmp_path / "f").write_text("one")
    with killed_at(monkeypatch, "replace", tmp_path / "f"), written(tmp_path / "f") as draft:
        draft.write_text("two")
    assert names(tmp_path) == ["f", "f.partial"]
    assert (tmp_path / "f").read_text() == "one"
    write_text(tmp_path / "f", "three")
    assert (tmp_path / "f").read_bytes() == b"three"
    assert names(tmp_path) == ["f"]


@pytest.mark.parametrize("write", [written, written_folder])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_who_may_read_it_is_what_the_user_has_set(tmp_path, write, shared, umask):
    before = os.umask(umask)
    try:
        with write(tmp_path / "x", shared) as draft:
            if write is written:
                draft.write_text("one")
    finally:
        os.umask(before)
    usual = 0o666 if write is written else 0o777
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == usual & ~umask


# -- folders


@pytest.mark.parametrize("shared", [False, True])
def test_a_new_folder_has_its_name_when_all_is_in_it(tmp_path, shared):
    with written_folder(tmp_path / "up" / "x", shared) as draft:
        fill(draft, "one")
        assert not (tmp_path / "up" / "x").exists()
    assert content(tmp_path / "up" / "x") == ("one", "one")
    assert names(tmp_path / "up") == ["x"]


@pytest.mark.parametrize(("shared", "stays"), [(False, "two"), (True, "one")])
def test_a_folder_is_replaced_unless_it_is_shared(tmp_path, shared, stays):
    for text in ("one", "two"):
        with written_folder(tmp_path / "x", shared) as draft:
            fill(draft, text)
    assert content(tmp_path / "x") == (stays, stays)
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_leaves_the_former_folder_and_no_draft(tmp_path, shared, fault):
    with written_folder(tmp_path / "x") as draft:
        fill(draft, "one")
    with pytest.raises(type(fault)), written_folder(tmp_path / "x", shared) as draft:
        (draft / "a").write_text("tw")
        raise fault
    assert content(tmp_path / "x") == ("one", "one")
    assert names(tmp_path) == ["x"]


def test_a_link_to_a_folder_stays_one(tmp_path, monkeypatch):
    with written_folder(tmp_path / "there" / "x") as draft:
        fill(draft, "one")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "x")
    with (
        killed_after_the_former_is_away(monkeypatch, link.resolve()),
        written_folder(link) as draft,
    ):
        fill(draft, "two")
    recover(link)
    assert content(link) == ("one", "one")
    with written_folder(link) as draft:
        fill(draft, "three")
    assert link.is_symlink() and content(tmp_path / "there" / "x") == ("three", "three")
    assert names(tmp_path) == ["link", "there"] and names(tmp_path / "there") == ["x"]


def test_killed_between_the_former_folder_and_the_new_one_the_former_is_brought_back(
    tmp_path, monkeypatch
):
    folder = tmp_path / "x"
    with written_folder(folder) as draft:
        fill(draft, "one")
    with killed_after_the_former_is_away(monkeypatch, folder), written_folder(folder) as draft:
        fill(draft, "two")
    assert names(tmp_path) == ["x.former.partial", "x.partial"]
    recover(folder)
    assert content(folder) == ("one", "one")
    with written_folder(folder) as draft:
        fill(draft, "three")
    assert content(folder) == ("three", "three")
    assert names(tmp_path) == ["x"]


@contextmanager
def killed_after_the_former_is_away(monkeypatch, folder):
    """Let the system rename a folder away and kill the process before the new one is there."""
    rename = Path.rename

    def dying(self, target):
        rename(self, target)
        if self == folder:
            monkeypatch.setattr("shutil.rmtree", lambda *args, **kwargs: None)
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        with suppress(Killed):
            yield
    monkeypatch.undo()


@pytest.mark.parametrize("reader", [saved_kind, lambda folder: opened(folder, "thing")["n"]])
def test_what_was_saved_is_read_though_saving_it_again_was_killed(tmp_path, monkeypatch, reader):
    folder = tmp_path / "x"
    with saving(folder, "thing", {"n": 1}) as draft:
        fill(draft, "one")
    expected = reader(folder)
    again = saving(folder, "thing", {"n": 2})
    with killed_after_the_former_is_away(monkeypatch, folder), again as draft:
        fill(draft, "two")
    assert not folder.exists()
    assert reader(folder) == expected
    assert content(folder) == ("one", "one")


def test_what_was_saved_is_no_other_kind_though_saving_it_again_was_killed(tmp_path, monkeypatch):
    folder = tmp_path / "x"
    for kind in ("thing", "other"):
        with suppress(UserError), saving(folder, kind, {}):
            pass
        with suppress(FileNotFoundError):
            folder.rename(tmp_path / "x.former.partial")  # as a kill would leave it
    assert saved_kind(folder) == "thing"


def test_a_reader_that_brings_the_former_back_meanwhile_does_no_harm(tmp_path, monkeypatch):
    folder, rename, readers = tmp_path / "x", Path.rename, []
    with written_folder(folder) as draft:
        fill(draft, "one")

    def with_a_reader(self, target):
        rename(self, target)
        if self == folder and not readers:
            readers.append(threading.Thread(target=recover, args=(folder,)))
            readers[0].start()
            readers[0].join()
            assert folder.exists()

    monkeypatch.setattr(Path, "rename", with_a_reader)
    with written_folder(folder) as draft:
        fill(draft, "two")
    assert readers
    assert content(folder) == ("two", "two")
    assert names(tmp_path) == ["x"]


# -- what the system refuses


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk full; earlier files are intact"),
        (errno.EDQUOT, "disk full; earlier files are intact"),
        (errno.EACCES, "Permission denied"),
        (errno.EROFS, "Read-only file system"),
    ],
)
def test_a_refusal_names_the_path(tmp_path, number, words):
    path = tmp_path / "f.txt"
    refused = pytest.raises(UserError, match=f"^{re.escape(str(path))}: cannot be written: {words}")
    with refused, writing(path), written(path) as draft:
        draft.write_text("on")
        raise OSError(number, os.strerror(number))
    assert names(tmp_path) == []


def test_a_folder_that_is_missing_or_in_the_way_is_a_refusal(tmp_path):
    (tmp_path / "d" / "in").mkdir(parents=True)
    with pytest.raises(UserError, match=r"up/f: cannot be written: No such file or directory"):
        write_text(tmp_path / "up" / "f", "one")
    with pytest.raises(UserError, match=r"d: cannot be written: Is a directory"):
        write_text(tmp_path / "d", "one")
    assert names(tmp_path) == ["d"]


def test_another_files_absence_is_no_refusal(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "f"), written(tmp_path / "f"):
        (tmp_path / "g").read_text()
