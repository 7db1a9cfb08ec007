"""Folders of pictures: tasks, classes, markers, and what must not be opened."""

import io

import pytest
from PIL import Image

from fedbridge.core.errors import UserError
from fedbridge.data.readers.faults import Fault
from fedbridge.data.readers.pixels import Encoded
from fedbridge.data.readers.preparing import InputSpec, prepared
from fedbridge.data.site import partitions_of
from sites import common, pictures, site, task


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> Encoded:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return Encoded(file.getvalue)


def test_classes_are_folders_and_all_is_one_task(tmp_path):
    task(tmp_path / "p", ["cat", "dog"], 2)
    (tmp_path / "p" / "cat" / ".hidden").touch()
    (found,) = partitions_of(site(tmp_path, kind="images", path="p"))
    rows = list(found.rows())
    assert [row.label for row in rows] == ["cat", "cat", "dog", "dog"]
    assert rows[0].place == str(tmp_path / "p" / "cat" / "0-0.png")


def test_tasks_are_folders_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1):
        task(tmp_path / "p" / f"task-{number}", ["cat"], 1)
    settings = site(tmp_path, kind="images", path="p", layout="task/class/file")
    assert [one.name for one in partitions_of(settings)] == ["task-1", "task-9", "task-10"]


@pytest.mark.parametrize(
    ("complete", "expected"),
    [
        ("marker", [False, True, False]),
        ("next", [True, True, False]),
        ("always", [True, True, True]),
    ],
)
def test_a_task_is_complete_by_the_rule(tmp_path, complete, expected):
    for name in "abc":
        task(tmp_path / "p" / name, ["cat"], 1)
    (tmp_path / "p" / "b" / "_DONE").touch()
    layout = {"layout": "task/class/file", "complete": complete}
    found = partitions_of(site(tmp_path, kind="images", path="p", **layout))
    assert [one.complete for one in found] == expected
    assert [len(list(one.rows())) for one in found] == [1, 1, 1]  # a marker is no class


def refused(tmp_path, **data) -> str:
    with pytest.raises(UserError) as caught:
        for one in partitions_of(site(tmp_path, kind="images", path="p", **data)):
            list(one.rows())
    return str(caught.value)


def faults(tmp_path, **data) -> list[str]:
    found = partitions_of(site(tmp_path, kind="images", path="p", **data))
    return [str(row) for one in found for row in one.rows() if isinstance(row, Fault)]


def test_what_is_no_picture_is_refused_unopened(tmp_path):
    task(tmp_path / "p", ["cat"], 1)
    (tmp_path / "p" / "cat" / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    (message,) = faults(tmp_path)
    assert message.startswith(f"{tmp_path / 'p' / 'cat' / 'model.pkl'}: must be a picture")
    assert message.endswith("found .pkl; nothing is unpickled")


def test_an_empty_class_is_refused(tmp_path):
    task(tmp_path / "p", ["cat"], 1)
    (tmp_path / "p" / "dog").mkdir()
    assert refused(tmp_path) == (
        f"{tmp_path / 'p' / 'dog'}: must hold pictures of class 'dog', found none"
    )


def test_a_link_that_leads_out_is_refused(tmp_path):
    task(tmp_path / "p", ["cat"], 1)
    (secret,) = pictures(tmp_path / "elsewhere", "cat", 1)
    (tmp_path / "p" / "cat" / "link.png").symlink_to(secret)
    (message,) = faults(tmp_path)
    assert message.endswith(
        f"link.png: must lie in {tmp_path / 'p' / 'cat'}, but leads to {secret}"
    )


def test_a_class_may_have_folders_of_its_own_and_litter_is_nothing(tmp_path):
    task(tmp_path / "p" / "a", ["cat", "dog"], 2)
    pictures(tmp_path / "p" / "a" / "cat" / "indoors", "cat", 1, seed=1)
    for place in ("__MACOSX", "a/__MACOSX", "a/cat/__MACOSX", "a/.thumbs"):
        (tmp_path / "p" / place).mkdir()
        (tmp_path / "p" / place / "._0-0.png").write_bytes(b"none")
    for place in ("Thumbs.db", "a/desktop.ini", "a/cat/.DS_Store", "a/cat/Thumbs.db"):
        (tmp_path / "p" / place).touch()
    (found,) = partitions_of(site(tmp_path, kind="images", path="p", layout="task/class/file"))
    rows = list(found.rows())
    assert [row.label for row in rows] == ["cat", "cat", "cat", "dog", "dog"]
    assert rows[2].place == str(tmp_path / "p" / "a" / "cat" / "indoors" / "cat" / "1-0.png")


def test_what_cannot_be_used_is_left_out_if_that_is_asked_for(tmp_path):
    task(tmp_path / "p" / "a", ["cat", "dog"])
    (tmp_path / "p" / "notes.txt").touch()
    (tmp_path / "p" / "a" / "more.txt").touch()
    (tmp_path / "p" / "a" / "cat" / "bad.png").write_bytes(b"none")
    data = {"kind": "images", "path": "p", "layout": "task/class/file"}
    settings = site(tmp_path, **data, broken="skip")
    part = prepared(partitions_of(settings)[0], InputSpec.of(common()), settings.data)
    assert len(part.labels) == 50
    assert [line.partition(": ")[0] for line in part.origin.broken] == [
        str(tmp_path / "p" / "notes.txt"),
        str(tmp_path / "p" / "a" / "more.txt"),
        str(tmp_path / "p" / "a" / "cat" / "bad.png"),
    ]
    settings = site(tmp_path, **data)
    with pytest.raises(UserError, match=r"of 53 items 3 cannot be used: .* data\.broken = 'skip'"):
        prepared(partitions_of(settings)[0], InputSpec.of(common()), settings.data)


def test_folders_of_a_division_are_no_classes(tmp_path):
    task(tmp_path / "p" / "train", ["cat", "dog"], 1)
    task(tmp_path / "p" / "val", ["cat", "dog"], 1)
    assert "found 'train', 'val' with folders in them; a site has one" in refused(tmp_path)


@pytest.mark.parametrize(
    ("prepare", "layout", "expected"),
    [
        (lambda p: None, "class/file", "must be a folder of classes"),
        (lambda p: p.mkdir(), "class/file", "must have a folder for each class, found none"),
        (lambda p: p.mkdir(), "task/class/file", "must have a folder for each task, found none"),
        (lambda p: pictures(p.parent, "cat", 1)[0].parent.rename(p), "class/file", "_DONE"),
    ],
)
def test_a_folder_of_another_kind_is_refused(tmp_path, prepare, layout, expected):
    prepare(tmp_path / "p")
    assert expected in refused(tmp_path, layout=layout)
