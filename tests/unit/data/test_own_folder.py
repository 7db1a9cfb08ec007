"""One's own folder of pictures: layouts, broken files, rare classes, and what is refused."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fedbridge.config import Own
from fedbridge.core.errors import UserError
from fedbridge.data import load_dataset
from sites import pictures, task


@pytest.fixture
def folder(tmp_path):
    return task(tmp_path / "pictures", ["cat", "dog"], 3)


def load(folder, domains=None, **own):
    return load_dataset(f"folder:{folder}", domains, folder.parent / "cache", own=Own(**own))


def refused(folder, **own) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, **own)
    return str(caught.value)


def test_every_picture_is_an_item_of_its_folders_class(folder):
    data = load(folder, side=40)
    assert (data.name, data.modality, data.classes) == ("folder:pictures", "image", ("cat", "dog"))
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.places[:2] == ("cat/0-0.png", "cat/0-1.png")
    assert data.items.shape == (6, 3, 40, 40)
    assert data.inputs.shape == (6, 3, 32, 32)
    assert (data.domain_names, data.tasks, data.broken) == (("all",), None, ())
    pixels = np.asarray(Image.open(folder / "cat" / "0-0.png").resize((32, 32), Image.LANCZOS))
    assert np.array_equal(data.inputs[0], pixels.transpose(2, 0, 1))


def test_pictures_of_one_size_are_kept_once(folder):
    data = load(folder, side=32)
    assert data.items is data.inputs


def test_equal_pictures_are_one_group(folder):
    shutil.copy(folder / "cat" / "0-0.png", folder / "dog" / "z.png")
    groups = load(folder).groups
    assert groups[0] == groups[-1]
    assert len(np.unique(groups)) == 6


def test_folders_are_domains_and_tasks(tmp_path):
    root = tmp_path / "p"
    for place, labels in (("b/t10", ["cat"]), ("b/t9", ["dog"]), ("a/t9", ["cat", "dog"])):
        task(root / place, labels, 2, seed=len(place))
    data = load(root, layout="domain/task/class/file")
    assert (data.domain_names, data.task_names) == (("a", "b"), ("t9", "t10"))
    assert data.domains.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert data.tasks.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    only = load(root, ("b",), layout="domain/task/class/file")
    assert only.tasks.tolist() == [0, 0, 1, 1]
    assert set(only.places) == {place for place in data.places if place.startswith("b/")}


@pytest.fixture
def damaged(folder):
    """Three broken files, and one that lies where a class should."""
    (folder / "cat" / "none.png").write_bytes(b"no picture")
    whole = (folder / "dog" / "0-0.png").read_bytes()
    (folder / "dog" / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "model.pkl").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    (folder / "notes.txt").touch()
    return folder


def test_broken_files_are_refused_with_their_names_and_the_way_out(damaged):
    message = refused(damaged)
    assert message.startswith(f"{damaged}: of 10 items 4 cannot be used: cat/none.png: cannot be")
    assert "dog/half.png: cannot be read (OSError: image file is truncated" in message
    assert "dog/model.pkl: must be a picture" in message
    assert "notes.txt: lies among the folders of classes, but is none" in message
    assert message.endswith("data.own.broken = 'skip' leaves them out")


def test_broken_files_are_left_out_if_that_is_asked_for(damaged):
    data = load(damaged, broken="skip")
    assert len(data) == 6
    assert [line.partition(":")[0] for line in data.broken] == [
        "cat/none.png",
        "dog/half.png",
        "dog/model.pkl",
        "notes.txt",
    ]
    clean = load(task(damaged.parent / "again" / "pictures", ["cat", "dog"], 3))
    assert np.array_equal(data.inputs, clean.inputs)
    assert refused(damaged).count("cannot be used") == 1  # what was prepared is still refused


def test_classes_of_few_items_are_left_out_if_that_is_asked_for(folder):
    pictures(folder, "eel", 2)
    data = load(folder, min_class_items=3)
    assert data.classes == ("cat", "dog")
    assert data.small == ("class 'eel' has 2 items, fewer than data.own.min_class_items = 3",)
    assert load(folder).classes == ("cat", "dog", "eel")


def test_one_class_is_not_enough(tmp_path):
    pictures(tmp_path / "p", "cat", 3)
    assert "at least two classes, found 'cat' (3)" in refused(tmp_path / "p")
    pictures(tmp_path / "p", "dog", 1)
    found = refused(tmp_path / "p", min_class_items=2)
    assert (
        "at least two classes of 2 items or more (data.own.min_class_items), found 'cat' (3), "
        in found
    )


def test_a_class_without_pictures_is_refused(folder):
    (folder / "eel").mkdir()
    assert refused(folder).startswith(f"{folder / 'eel'}: must hold pictures of class 'eel'")


def test_a_wrong_path_is_answered_with_what_lies_there(folder):
    message = refused(folder.parent / "pictrues")
    assert message == (
        f"data.name: {folder.parent / 'pictrues'}: there is no such file or folder; did you mean "
        f"{str(folder)!r}?"
    )


def test_a_file_is_no_folder_of_classes(folder):
    message = refused(folder / "cat" / "0-0.png")
    assert "must be a folder of classes: Not a directory" in message


@pytest.mark.parametrize("layout", ["domain/class/file", "task/class/file"])
def test_another_layout_is_refused(folder, layout):
    level = layout.partition("/")[0]
    message = refused(folder, layout=layout)
    assert message == f"{folder / 'cat'}: must have a folder for each class, found none"
    shutil.rmtree(folder)
    folder.mkdir()
    assert refused(folder, layout=layout).endswith(
        f"must have a folder for each {level}, found none"
    )


def test_a_link_that_leads_out_is_refused(folder):
    (secret,) = pictures(folder.parent / "elsewhere", "cat", 1)
    (folder / "cat" / "link.png").symlink_to(secret)
    assert "link.png: must lie in" in refused(folder)


def test_the_folder_itself_may_be_a_link(folder):
    (folder.parent / "link").symlink_to(folder)
    assert len(load(folder.parent / "link")) == 6


def test_an_unknown_domain_is_refused_with_those_there_are(folder):
    with pytest.raises(UserError, match="has the domains all, each to be named once; found"):
        load(folder, ("cat",))


# -- folders within classes, links, litter


def test_a_class_may_have_folders_of_its_own(tmp_path):
    root = task(tmp_path / "p", ["cat", "dog"], 2)
    pictures(root / "cat" / "indoors", "cat", 1, seed=1)
    pictures(root / "cat" / "images", "dog", 1, seed=2)
    data = load(root)
    assert data.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert {"cat/indoors/cat/1-0.png", "cat/images/dog/2-0.png"} < set(data.places)


def test_classes_with_folders_in_every_layout(tmp_path):
    root = tmp_path / "p"
    for place in ("train/a/t1", "test/a/t1"):
        for label in ("cat", "dog"):
            pictures(root / place / label / "images", label, 1, seed=len(place))
    data = load(root, layout="split/domain/task/class/file")
    assert (data.classes, data.domain_names, data.task_names) == (("cat", "dog"), ("a",), ("t1",))
    assert sorted(data.split.tolist()) == [0, 0, 1, 1]


def test_a_division_that_the_layout_forgets_is_told(tmp_path):
    for part in ("train", "test"):
        task(tmp_path / "p" / part, ["cat", "dog"], 2, seed=len(part))
    assert refused(tmp_path / "p") == (
        f"{tmp_path / 'p'}: must have a folder for each class, found 'test', 'train' with folders "
        f"in them; layout = 'split/class/file' reads 'train' and 'test' so"
    )


def test_a_level_that_the_layout_forgets_is_warned_of(tmp_path, caplog):
    for site in ("north", "south"):
        task(tmp_path / "p" / site, ["cat", "dog"], 2, seed=len(site))
    load(tmp_path / "p")
    assert "north, south are read as classes, although each has the folders cat, dog" in caplog.text
    caplog.clear()
    load(task(tmp_path / "q", ["cat", "dog"], 2))
    assert "read as classes" not in caplog.text


LITTER = ("__MACOSX", "cat/__MACOSX", ".cache")
LEFT = ("Thumbs.db", "cat/desktop.ini", "dog/.DS_Store", "dog/thumbs.DB", "._cat")


def test_litter_is_no_class_and_no_fault(folder):
    before = load(folder)
    for place in LITTER:
        (folder / place).mkdir()
        (folder / place / "._0-0.png").write_bytes(b"none")
    for place in LEFT:
        (folder / place).touch()
    after = load(folder)
    assert (after.fingerprint, after.broken) == (before.fingerprint, ())


def test_links_within_the_tree_are_counted_among_the_bad_files(folder):
    (folder / "cat" / "again.png").symlink_to(folder / "dog" / "0-0.png")
    (folder / "cat" / "loop").symlink_to(folder / "cat")
    (folder / "cat" / "up").symlink_to(folder)
    (folder / "cat" / "ghost.png").symlink_to(folder / "nothing.png")
    (folder / "cat" / "a.png").symlink_to("b.png")
    (folder / "cat" / "b.png").symlink_to("a.png")
    (folder / "eel").symlink_to("/")
    message = refused(folder)
    assert "of 13 items 7 cannot be used" in message and "eel: must lie in" in message
    data = load(folder, broken="skip")
    assert len(data) == 6 and data.classes == ("cat", "dog")
    told = {line.partition(": ")[0]: line.partition(": ")[2] for line in data.broken}
    assert told["cat/again.png"] == (
        f"must lie in {folder / 'cat'}, but leads to {folder / 'dog' / '0-0.png'}"
    )
    assert told["cat/loop"] == f"must lie in {folder / 'cat'}, but leads to {folder / 'cat'}"
    for name in ("ghost", "a", "b"):
        assert told[f"cat/{name}.png"] == "is a link that leads nowhere"


def test_a_link_within_its_own_folder_is_read(folder):
    (folder / "cat" / "z.png").symlink_to("0-0.png")
    (folder / "eel").symlink_to(folder / "dog")
    data = load(folder)
    assert data.classes == ("cat", "dog", "eel")
    assert data.groups[0] == data.groups[3]


# -- depth


def deep(root, count, kind=np.uint16, white=65535.0):
    """Write pictures of noise of more than 8 bits, half of each class."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = root / ("cat", "dog")[number % 2] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rng.random((12, 12)) * white).astype(kind)).save(path)
    return root


def test_as_many_groups_as_scans(tmp_path):
    data = load(deep(tmp_path / "p", 80))
    assert len(np.unique(data.groups)) == 80
    assert abs(data.inputs.mean() - 127.5) < 3


def test_a_depth_that_cannot_be_known_is_asked_for(tmp_path):
    root = deep(tmp_path / "p", 80, np.float32, 1500.0)
    message = refused(root)
    assert "80 cannot be used: cat/0.tif: cannot be read (ValueError: mode F" in message
    assert "mode F, values from " in message and "data.own.levels = [" in message
    data = load(root, levels=(0, 1500))
    assert len(np.unique(data.groups)) == 80
    assert abs(data.inputs.mean() - 127.5) < 3


def test_other_levels_are_other_pictures(tmp_path):
    root = deep(tmp_path / "p", 4, white=4000)
    bright, dim = load(root, levels=(0, 4000)), load(root, levels=(0, 16000))
    assert abs(bright.inputs.mean() / 4 - dim.inputs.mean()) < 0.5
