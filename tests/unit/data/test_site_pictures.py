"""Folders of pictures: tasks, classes, markers, and what must not be opened."""

import io

import numpy as np
import pytest
from PIL import Image

from fedbridge.data.site import partitions_of
from fedbridge.data.site.pictures import decode_picture, pixels_digest
from fedbridge.data.site.rows import Encoded
from fedbridge.errors import UserError
from sites import pictures, site, task


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


def test_what_is_no_picture_is_refused_unopened(tmp_path):
    task(tmp_path / "p", ["cat"], 1)
    (tmp_path / "p" / "cat" / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    message = refused(tmp_path)
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
    message = refused(tmp_path)
    assert "link.png: must lie in" in message
    assert str(secret) in message


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


# -- decoding


def test_pictures_stand_upright():
    picture = Image.new("RGB", (4, 2))
    exif = picture.getexif()
    exif[0x0112] = 6  # as a camera that was held sideways writes
    assert decode_picture(encoded(picture, "JPEG", exif=exif)).size == (2, 4)


def test_a_picture_too_large_is_refused_before_it_unfolds():
    assert decode_picture(encoded(Image.new("RGB", (4, 6))), most=24).size == (4, 6)
    with pytest.raises(ValueError, match="must have at most 24 pixels, found 5 x 5"):
        decode_picture(encoded(Image.new("RGB", (5, 5))), most=24)


def test_a_real_bomb_is_refused():
    bomb = encoded(Image.new("1", (16_000, 16_000)))
    assert len(bomb.data()) < 100_000
    with pytest.raises(Exception, match=r"pixels|decompression bomb"):
        decode_picture(bomb)


def test_a_file_that_only_ends_like_a_picture_is_refused():
    with pytest.raises(ValueError, match="must be a picture of PNG, JPEG"):
        decode_picture(Encoded(lambda: b"%!PS-Adobe-3.0 EPSF-3.0"))


def test_equal_pixels_are_equal_whatever_the_file_format():
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    picture = Image.fromarray(pixels)
    marks = {pixels_digest(decode_picture(encoded(picture, kind))) for kind in ("PNG", "BMP")}
    assert len(marks) == 1
    pixels[0, 0, 0] ^= 1
    assert pixels_digest(Image.fromarray(pixels)) not in marks
