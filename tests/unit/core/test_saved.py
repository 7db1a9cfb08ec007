import json

import pytest

from fedbridge.core.errors import UserError
from fedbridge.core.saved import opened, saved_kind, saving


def save(folder, text="hello", kind="thing"):
    with saving(folder, kind, {"n": 1}) as draft:
        (draft / "a.txt").write_text(text)


def test_what_was_saved_is_opened(tmp_path):
    save(tmp_path / "deep" / "x")
    assert opened(tmp_path / "deep" / "x", "thing") == {"n": 1}
    assert saved_kind(tmp_path / "deep" / "x") == "thing"
    assert saved_kind(tmp_path) is None


def test_the_same_kind_is_replaced_and_nothing_is_left_over(tmp_path):
    save(tmp_path / "x")
    save(tmp_path / "x", "again")
    assert (tmp_path / "x" / "a.txt").read_text() == "again"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failure_leaves_what_was_there(tmp_path):
    save(tmp_path / "x")
    with pytest.raises(RuntimeError, match="half"), saving(tmp_path / "x", "thing", {}) as draft:
        (draft / "a.txt").write_text("half")
        raise RuntimeError("half")
    assert (tmp_path / "x" / "a.txt").read_text() == "hello"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("place", ["other", "file", "kind"])
def test_what_is_in_use_stays(tmp_path, place):
    folder = tmp_path / "x"
    if place == "kind":
        save(folder, kind="another")
    elif place == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (folder / "mine").write_text("mine")
    with pytest.raises(UserError, match="must be a new or empty folder"):
        save(folder)


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "x").mkdir()
    save(tmp_path / "x")
    assert opened(tmp_path / "x", "thing") == {"n": 1}


def damage(path, how):
    manifest = json.loads((path / "manifest.json").read_text())
    if how == "file":
        (path / "a.txt").write_text("hullo")
    elif how == "gone":
        (path / "a.txt").unlink()
    elif how == "manifest":
        (path / "manifest.json").write_text("{")
    elif how == "format":
        (path / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    else:
        (path / "manifest.json").unlink()


@pytest.mark.parametrize(
    "how, told",
    [
        ("file", "a.txt: has changed"),
        ("gone", "a.txt: is missing"),
        ("manifest", "is damaged"),
        ("format", "format 1, found 'thing' and 2"),
        ("none", "No such file"),
    ],
)
def test_damage_is_named(tmp_path, how, told):
    save(tmp_path / "x")
    damage(tmp_path / "x", how)
    with pytest.raises(UserError, match=told):
        opened(tmp_path / "x", "thing")


def test_another_kind_is_refused(tmp_path):
    save(tmp_path / "x")
    with pytest.raises(UserError, match="must be of kind 'other'"):
        opened(tmp_path / "x", "other")
