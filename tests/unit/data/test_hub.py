"""Data sets in the form of Hugging Face, written by save_to_disk; the hub itself is a stand-in."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import httpx2
import huggingface_hub
import numpy as np
import pyarrow
import pytest
from PIL import Image

from fedbridge.config import Data, Hub, PublicHub
from fedbridge.core.errors import UserError
from fedbridge.core.tokens import tokenize
from fedbridge.data import load_dataset, to_download
from fedbridge.data.hub.rows import read_rows
from fedbridge.data.readers.pixels import draw_picture
from fedbridge.methods.files import parse_config

PICTURE, TEXT = datasets.Image(), datasets.Value("string")


def classes(*names: str) -> datasets.ClassLabel:
    return datasets.ClassLabel(names=list(names))


def gray(value: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, (value, value, value))


def table(kinds: dict[str, Any], **columns: list[Any]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def saved(folder: Path, found: datasets.Dataset | None = None, **splits: datasets.Dataset) -> str:
    (found or datasets.DatasetDict(splits)).save_to_disk(str(folder))
    return f"hf:{folder}"


def pictures(*labels: int, start: int = 0) -> datasets.Dataset:
    drawn = [gray(start + 10 * row) for row in range(len(labels))]
    return table({"img": PICTURE, "y": classes("cat", "dog", "eel")}, img=drawn, y=list(labels))


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


def load(name: str, domains: tuple[str, ...] | None = None, **hub: Any):
    return load_dataset(name, domains, hub=Hub(**hub))


# -- pictures


def test_official_splits_become_the_division(tmp_path):
    name = saved(tmp_path / "set", train=pictures(0, 2, 0), test=pictures(2, 0, start=100))
    found = load(name, side=32)
    assert (found.modality, found.classes, found.domain_names) == (
        "image",
        ("cat", "eel"),
        ("all",),
    )
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert found.split is not None and found.split.tolist() == [0, 0, 0, 1, 1]
    assert found.split.dtype == np.int8
    assert found.groups.tolist() == [0, 1, 2, 3, 4]
    assert found.items is found.inputs and found.inputs.shape == (5, 3, 32, 32)
    assert found.inputs[:, 1, 5, 5].tolist() == [0, 10, 20, 100, 110]
    assert found.licences == (f"{name}: no licence stated; ask its authors",)


def test_one_split_alone_or_other_names_are_no_division(tmp_path):
    whole = saved(tmp_path / "one", pictures(0, 1))
    assert load(whole).split is None
    assert load(saved(tmp_path / "test", test=pictures(0, 1))).split is None
    both = saved(tmp_path / "two", train=pictures(0, 1), test=pictures(1, 0, start=100))
    assert load(both, splits=("test",)).split is None
    reversed_ = load(both, splits=("test", "train")).split
    assert reversed_ is not None and reversed_.tolist() == [1, 1, 0, 0]
    with pytest.raises(UserError, match=r"data\.hub\.splits: .* train, test, .* found \['dev'\]"):
        load(both, splits=("dev",))


def test_large_pictures_for_the_fm_and_small_ones_beside_them(tmp_path):
    found = load(saved(tmp_path / "set", pictures(0, 1)), side=48)
    assert found.items.shape == (2, 3, 48, 48) and found.inputs.shape == (2, 3, 32, 32)
    assert (found.items[1] == 10).all() and (found.inputs[1] == 10).all()


def test_drawing_takes_the_middle_square_on_white_paper():
    wide = Image.new("RGB", (96, 32), "red")
    wide.paste("blue", (32, 0, 64, 32))
    assert (draw_picture(wide, 32) == np.array([0, 0, 255])[:, None, None]).all()
    assert (draw_picture(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), 32) == 255).all()
    assert (draw_picture(Image.new("L", (32, 32), 7), 32) == 7).all()
    deep = Image.fromarray(np.full((32, 32), 0x8001, np.uint16))
    assert (draw_picture(deep, 32) == 0x80).all()


def test_unreadable_pictures_are_counted_and_named(tmp_path):
    good = io.BytesIO()
    gray(5, (40, 40)).save(good, "PNG")
    cells = [good.getvalue(), b"no picture", good.getvalue()[:60], None]
    rows = [None if cell is None else {"bytes": cell, "path": None} for cell in cells]
    broken = table({"img": PICTURE, "y": classes("a", "b")}, img=rows, y=[0, 1, 1, 1])
    other = table({"img": PICTURE, "y": classes("a", "b")}, img=[gray(90)], y=[0])
    name = saved(tmp_path / "set", train=broken, test=other)
    with pytest.raises(UserError) as caught:
        load(name)
    assert str(caught.value) == (
        f"data.name: {name}: of 5 rows 3 cannot be used: train 1: cannot be read (ValueError: must "
        f"be a picture of PNG, JPEG, BMP, GIF, WEBP, TIFF, PPM); train 2: cannot be read (OSError: "
        f"image file is truncated); train 3: must have a picture, found none. data.hub.broken = "
        f"'skip' leaves them out"
    )
    found = load(name, broken="skip", side=32)
    assert (found.places, found.classes) == (("train 0", "test 0"), ("a",))
    assert found.inputs[:, 0, 0, 0].tolist() == [5, 90] and found.labels.tolist() == [0, 0]
    assert [line.partition(":")[0] for line in found.broken] == ["train 1", "train 2", "train 3"]


def test_many_unreadable_rows_are_not_all_named(tmp_path):
    empty = table({"text": TEXT, "label": classes("a")}, text=["x"] + [" "] * 12, label=[0] * 13)
    with pytest.raises(
        UserError, match=r"of 13 rows 12 cannot .*: all 1: must have a text.* all 10: .*; \.\.\."
    ):
        load(saved(tmp_path / "set", empty))


# -- columns


def test_domains_and_groups_come_from_columns(tmp_path):
    kinds = {
        "img": PICTURE,
        "y": classes("cat", "dog"),
        "style": TEXT,
        "of": datasets.Value("int64"),
    }
    rows = table(kinds, img=[gray(10 * i) for i in range(4)], y=[0, 1, 1, 0],
                 style=["ink", "oil", "ink", "oil"], of=[7, 3, -1, 3])  # fmt: skip
    name = saved(tmp_path / "set", rows)
    found = load(name, domain="style", group="of", side=32)
    assert found.domain_names == ("ink", "oil")
    assert found.domains.tolist() == [0, 0, 1, 1]
    assert found.labels.tolist() == [0, 1, 1, 0]
    assert found.groups.tolist() == [2, 0, 1, 1]
    assert found.inputs[:, 0, 0, 0].tolist() == [0, 20, 10, 30]
    oil = load(name, ("oil",), domain="style", group="of", side=32)
    assert oil.domain_names == ("oil",) and oil.labels.tolist() == [1, 0]
    with pytest.raises(UserError, match=r"data\.domains: .* domains ink, oil, .* found \['wax'\]"):
        load(name, ("wax",), domain="style")


def test_group_in_both_official_parts_is_refused(tmp_path):
    kinds = {"text": TEXT, "label": classes("a"), "of": TEXT}
    one = table(kinds, text=["x", "y"], label=[0, 0], of=["p", "q"])
    name = saved(tmp_path / "set", train=one, test=one.select([1]))
    with pytest.raises(
        UserError, match=r"data\.hub\.group: .* no group may be in train .* found 1"
    ):
        load(name, group="of")


def test_of_several_class_columns_one_must_be_named(tmp_path):
    kinds = {"img": PICTURE, "fine_label": classes("a", "b"), "coarse_label": classes("c")}
    rows = table(kinds, img=[gray(0), gray(1)], fine_label=[1, 0], coarse_label=[0, 0])
    name = saved(tmp_path / "set", rows)
    message = (
        r"data\.hub\.label: .*img \(picture\), fine_label \(class\), coarse_label \(class\); name"
    )
    with pytest.raises(UserError, match=message):
        load(name)
    assert load(name, label="fine_label").labels.tolist() == [1, 0]
    with pytest.raises(UserError, match=r"data\.hub\.label: .* found 'fine'"):
        load(name, label="fine")
    with pytest.raises(UserError, match=r"data\.hub\.content: .* must be of pictures or texts"):
        load(name, label="fine_label", content="coarse_label")


def test_texts_with_labels_that_are_words(tmp_path):
    rows = table({"text": TEXT, "label": TEXT}, text=["a dog", "a cat"], label=["woof", "meow"])
    found = load(saved(tmp_path / "set", rows))
    assert (found.modality, found.items) == ("text", ("a dog", "a cat"))
    assert found.classes == ("meow", "woof") and found.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(found.inputs[0], tokenize("a dog"))


def test_of_several_text_columns_one_must_be_named(tmp_path):
    rows = table({"title": TEXT, "body": TEXT, "y": classes("a")}, title=["t"], body=["b"], y=[0])
    name = saved(tmp_path / "set", rows)
    with pytest.raises(UserError, match=r"data\.hub\.content: .* name the one that is to be class"):
        load(name)
    assert load(name, content="body").items == ("b",)


@pytest.mark.parametrize("missing", [None, -1])
def test_rows_without_a_label_are_counted(tmp_path, missing):
    name = saved(tmp_path / "set", train=pictures(0, 1), test=pictures(missing, missing))
    message = r"data\.hub\.label: .*'y' is missing in 2 of 4 \(test 0, test 1\); data\.hub\.splits"
    with pytest.raises(UserError, match=message):
        load(name)
    assert load(name, splits=("train",)).labels.tolist() == [0, 1]


def test_labels_must_be_discrete_and_rows_must_be_there(tmp_path):
    rows = table({"text": TEXT, "y": datasets.Value("float32")}, text=["x"], y=[0.5])
    with pytest.raises(UserError, match=r"data\.hub\.label: .*'y' must hold classes, texts or int"):
        load(saved(tmp_path / "float", rows), label="y")
    with pytest.raises(
        UserError, match=r"data\.hub\.splits: .* must have rows, found none in 'all'"
    ):
        read_rows("hf:a/b", {"all": pictures(0).select([])}, Hub())


@pytest.mark.parametrize("strange", [3, -2])
def test_labels_that_were_not_announced_are_told(tmp_path, strange):
    whole = pictures(0, 1, 2)
    rows = whole.data.table.set_column(1, "y", pyarrow.array([0, strange, strange], "int64"))
    told = datasets.Dataset(datasets.table.InMemoryTable(rows), info=whole.info)
    message = (
        rf"data\.hub\.label: .*'y' must hold one of the 3 classes that it announces, but 2 of 3 "
        rf"rows do not, the first being all 1 with {strange}"
    )
    with pytest.raises(UserError, match=message):
        load(saved(tmp_path / "set", told))


def test_a_column_that_one_split_lacks_is_told(tmp_path):
    other = pictures(0, 1).rename_column("y", "z")
    name = saved(tmp_path / "set", train=pictures(0, 1), test=other)
    with pytest.raises(UserError, match=r"img \(picture\), y \(class\), z \(class\); name the"):
        load(name)
    with pytest.raises(UserError, match=r"'y' is missing in 2 of 4 \(test 0, test 1\)"):
        load(name, label="y")
    assert len(load(name, label="y", splits=("train",))) == 2


def test_a_picture_of_senseless_size_is_unreadable(tmp_path):
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    cells = [{"bytes": bomb.getvalue(), "path": None}]
    name = saved(tmp_path / "set", table({"img": PICTURE, "y": classes("a")}, img=cells, y=[0]))
    with pytest.raises(UserError, match=r"its rows none can be used: .* all 0: .*exceeds limit"):
        load(name)


def test_a_file_cut_short_is_the_users_error(tmp_path):
    name = saved(tmp_path / "set", pictures(0, 1))
    (path,) = (tmp_path / "set").glob("*.arrow")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"data\.name: hf:.*set: \w+: "):
        load(name)


def test_damage_of_what_was_prepared_is_named(tmp_path):
    kinds = {"text": TEXT, "label": TEXT, "of": TEXT}
    rows = table(kinds, text=["a", "b"], label=["c", "d"], of=["ink", "oil"])
    name = saved(tmp_path / "set", rows)
    hub = Hub(domain="of")
    assert load_dataset(name, hub=hub).domain_names == ("ink", "oil")
    (path,) = (tmp_path / "cache").glob("data-v1/hf/*/0001/inputs.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"0001/inputs\.npy: must have the sha256"):
        load_dataset(name, hub=hub)


def test_format_that_was_saved_does_not_matter(tmp_path):
    name = saved(tmp_path / "set", pictures(0, 1).with_format("numpy", columns=["y"]))
    assert load(name, side=32).inputs[1, 0, 0, 0] == 10


# -- the cache


def test_prepared_once_and_known_by_content_not_by_place(tmp_path, monkeypatch):
    name = saved(tmp_path / "set", pictures(0, 1))
    first = load(name)
    (tmp_path / "set").rename(tmp_path / "moved")
    monkeypatch.setitem(sys.modules, "datasets", None)  # the package is not needed again
    again = load(f"hf:{tmp_path / 'moved'}")
    np.testing.assert_array_equal(again.items, first.items)
    assert len(list((tmp_path / "cache" / "data-v1" / "hf").iterdir())) == 1


def test_changed_content_or_settings_are_prepared_anew(tmp_path):
    load(saved(tmp_path / "set", pictures(0, 1)))
    changed = load(saved(tmp_path / "other", pictures(0, 1, start=50)))
    assert changed.items[0, 0, 0, 0] == 50
    load(f"hf:{tmp_path / 'other'}", side=32)
    assert len(list((tmp_path / "cache" / "data-v1" / "hf").iterdir())) == 3


def test_folder_of_another_kind_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match=r"set: must be a folder that `save_to_disk` .*state\.json"):
        load(f"hf:{tmp_path / 'set'}")


def test_damaged_file_is_the_users_error(tmp_path):
    name = saved(tmp_path / "set", pictures(0, 1))
    (path,) = (tmp_path / "set").glob("*.arrow")
    path.write_bytes(b"?" * path.stat().st_size)
    with pytest.raises(UserError, match=r"data\.name: hf:.*set: \w+: "):
        load(name)


def test_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    name = saved(tmp_path / "set", pictures(0, 1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "fedbridge\[datasets\]"'):
        load(name)


# -- the hub


@pytest.fixture
def hub(monkeypatch):
    """Stand for the hub: it has one data set, whose newest revision is c0ffee."""
    asked: list[Any] = []

    def info(self, where, revision, timeout):
        asked.append((where, revision))
        return SimpleNamespace(sha=revision or "c0ffee", card_data={"license": "mit"})

    def download(where, subset, revision):
        asked.append((where, subset, revision))
        return datasets.DatasetDict(train=pictures(0, 1), test=pictures(1, 0, start=100))

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", download)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    return asked


def test_name_on_the_hub_is_pinned_to_its_commit_and_fetched_once(hub):
    for _ in range(2):
        found = load("hf:someone/pets", subset="small")
    assert hub == [("someone/pets", None), ("someone/pets", "small", "c0ffee")]
    assert found.licences == ("hf:someone/pets: mit",)
    assert found.split is not None


def test_what_is_to_be_downloaded_is_told(hub, tmp_path):
    data = Data(name="hf:someone/pets", hub=Hub(side=32))
    assert to_download(data) == ("newest revision",)
    load_dataset(data.name, hub=data.hub)
    assert to_download(data) == ()
    assert to_download(Data(name=saved(tmp_path / "set", pictures(0)))) == ()


def test_offline_the_hub_is_not_asked(hub, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert (
        load("hf:someone/pets", revision="v1")
        .licences[0]
        .endswith("no licence stated; ask its authors")
    )
    assert hub == [("someone/pets", None, "v1")]


def test_hub_out_of_reach_is_told_at_once(monkeypatch):
    def unreachable(*args, **kwargs):
        raise httpx2.ConnectError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    message = r"hub cannot be reached for a/b \(Name or service not known\); with HF_HUB_OFFLINE=1"
    with pytest.raises(UserError, match=message):
        load("hf:a/b")


@pytest.mark.parametrize("name", ["hf:csv", "hf:a/b/c", "hf:./a", "hf:/no/where", "hf:~/x"])
def test_names_that_are_not_the_hubs_are_refused(name):
    with pytest.raises(UserError, match=r"must be hf:OWNER/NAME or hf:DIR .*, found 'hf:"):
        load(name)


def test_settings_of_the_hub_are_for_the_hub_alone():
    with pytest.raises(UserError, match=r"data\.hub is only for data sets .* 'hf:', with 'digits'"):
        parse_config({"data": {"hub": {"side": 32}}}, "test")
    config = parse_config({"data": {"name": "hf:a/b", "hub": {"side": 32}}}, "test")
    assert config.data.hub == Hub(side=32)
    with pytest.raises(UserError, match=r"data\.hub\.sides: unknown key \(did you mean 'side'\?\)"):
        parse_config({"data": {"name": "hf:a/b", "hub": {"sides": 32}}}, "test")


# -- what is the same, what is missing, what is deep


def test_an_item_of_train_and_test_is_refused_or_left_out_of_train(tmp_path):
    name = saved(tmp_path / "set", train=pictures(0, 1, 2), test=pictures(0, start=20))
    with pytest.raises(UserError) as caught:
        load(name)
    assert str(caught.value) == (
        f"data.name: {name}: of 4 rows 1 cannot be used: train 2: must not be on both sides: "
        f"equals test 0 of the test. data.hub.broken = 'skip' leaves them out"
    )
    found = load(name, broken="skip")
    assert found.places == ("train 0", "train 1", "test 0")
    assert (found.classes, found.split.tolist()) == (("cat", "dog"), [0, 0, 1])


def test_equal_texts_of_both_sides_are_found_too(tmp_path):
    kinds = {"text": TEXT, "label": classes("a", "b")}
    train = table(kinds, text=["x", "y ", "z"], label=[0, 1, 1])
    name = saved(tmp_path / "set", train=train, test=table(kinds, text=["y"], label=[1]))
    with pytest.raises(UserError, match="train 1: must not be on both sides: equals test 0"):
        load(name)
    assert load(name, broken="skip").items == ("x", "z", "y")


def test_equal_contents_are_one_group_unless_a_column_says_groups(tmp_path):
    kinds = {"text": TEXT, "label": classes("a"), "of": TEXT}
    rows = table(kinds, text=["x", "y", "x"], label=[0, 0, 0], of=["p", "q", "r"])
    name = saved(tmp_path / "set", rows)
    assert load(name, content="text").groups.tolist() == [0, 1, 0]
    assert load(name, content="text", group="of").groups.tolist() == [0, 1, 2]


def test_an_empty_split_is_named_with_the_others(tmp_path):
    name = saved(tmp_path / "set", train=pictures(0, 1), validation=pictures(0).select([]))
    with pytest.raises(UserError) as caught:
        load(name)
    assert str(caught.value) == (
        f"data.hub.splits: {name}: every split must have rows, found none in 'validation'; "
        f"data.hub.splits = ['train'] leaves it out"
    )
    assert len(load(name, splits=("train",))) == 2


def test_rows_without_a_label_are_left_out_if_that_is_asked_for(tmp_path):
    name = saved(tmp_path / "set", pictures(0, -1, 1, None))
    found = load(name, broken="skip")
    assert found.places == ("all 0", "all 2") and found.labels.tolist() == [0, 1]
    assert found.broken == (
        "all 1: must have a label in column 'y'",
        "all 3: must have a label in column 'y'",
    )
    with pytest.raises(UserError, match="of 4 rows 2 cannot be used: all 1: must have a label"):
        load(name)


def test_deep_pictures_are_asked_about_and_scaled(tmp_path):
    rng = np.random.default_rng(0)
    scans = [Image.fromarray(rng.integers(-1000, 3000, (9, 9)).astype(np.int32)) for _ in range(4)]
    cells = []
    for scan in scans:
        file = io.BytesIO()
        scan.save(file, "TIFF")
        cells.append({"bytes": file.getvalue(), "path": None})
    rows = table({"img": PICTURE, "y": classes("a", "b")}, img=cells, y=[0, 1, 0, 1])
    name = saved(tmp_path / "set", rows)
    with pytest.raises(
        UserError, match=r"all 0: .*mode I, values from -\d+ to .* data\.hub\.levels"
    ):
        load(name)
    found = load(name, levels=(-1000, 3000))
    assert len(np.unique(found.groups)) == 4
    assert abs(found.inputs.mean() - 127.5) < 5


# -- words


def test_words_are_spelled_as_everywhere(tmp_path):
    kinds = {"text": TEXT, "y": TEXT, "place": TEXT, "who": datasets.Value("int64")}
    columns = {
        "text": ["a", "b", "c"],
        "y": ["B\u00e4r", "Ba\u0308r", " 3.0 "],
        "place": ["x", "x ", "y"],
        "who": [1, 2, 1],
    }
    found = load(
        saved(tmp_path / "set", table(kinds, **columns)), content="text", label="y",
        domain="place", group="who",
    )  # fmt: skip
    assert (found.classes, found.labels.tolist()) == (("3", "B\u00e4r"), [1, 1, 0])
    assert found.domain_names == ("x", "y")
    assert found.groups.tolist() == [0, 1, 0]


def test_words_for_nothing_are_no_label(tmp_path):
    kinds = {"text": TEXT, "label": TEXT}
    made = table(kinds, text=["a", "b", "c", "d"], label=["x", "NA", "y", "None"])
    name = saved(tmp_path / "set", made)
    with pytest.raises(UserError) as caught:
        load(name, content="text")
    assert (
        "'label' is missing in 2 of 4 (all 1, all 3), by the words 'NA', 'None' of "
        "data.hub.missing; data.hub.splits" in str(caught.value)
    )
    assert load(name, content="text", missing=()).classes == ("NA", "None", "x", "y")


def test_announced_classes_may_have_any_name_but_not_two_the_same(tmp_path):
    kinds = {"text": TEXT, "label": classes("None", "B\u00e4r", "Ba\u0308r")}
    name = saved(tmp_path / "set", table(kinds, text=["a", "b"], label=[0, 1]))
    assert load(name).classes == ("None", "B\u00e4r")
    name = saved(tmp_path / "other", table(kinds, text=["a", "b"], label=[2, 1]))
    with pytest.raises(UserError, match="must not give two classes one name"):
        load(name)


def test_a_public_set_of_the_hub_has_levels_of_its_own(tmp_path):
    cells = []
    for number in range(3):
        file = io.BytesIO()
        Image.fromarray(np.full((9, 9), 100.0 * number, np.float32)).save(file, "TIFF")
        cells.append({"bytes": file.getvalue(), "path": None})
    name = saved(tmp_path / "set", table({"img": PICTURE, "y": classes("a")}, img=cells, y=[0] * 3))
    with pytest.raises(UserError, match=r"data\.public_own\.levels = \["):
        load_dataset(name, hub=PublicHub())
    found = load_dataset(name, hub=PublicHub(levels=(0, 200)))
    assert found.inputs[:, 0, 0, 0].tolist() == [0, 128, 255]
    tree = {"data": {"public": name, "public_items": 3, "public_own": {"levels": [0, 200]}}}
    assert parse_config(tree, "test").data.public_own.levels == (0, 200)
    tree["data"]["public_own"] = {"side": 64}
    with pytest.raises(
        UserError, match=r"data\.public_own\.side is only for data\.public = folder:"
    ):
        parse_config(tree, "test")


def test_pictures_read_by_other_rules_are_read_anew(tmp_path, monkeypatch):
    name = saved(tmp_path / "set", pictures(0, 1))
    load(name)
    load(name, broken="skip")
    monkeypatch.setattr("fedbridge.data.hub.hub.PIXELS", 0)
    load(name)
    assert len(list((tmp_path / "cache" / "data-v1" / "hf").iterdir())) == 2
