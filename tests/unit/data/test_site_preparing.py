"""A task is read whole or refused with all that is wrong; contents alone decide on its division."""

import datasets
import numpy as np
import pytest
from PIL import Image

from fedbridge.config.site import Images
from fedbridge.core.errors import UserError
from fedbridge.core.tokens import tokenize
from fedbridge.data.readers.cells import Cells
from fedbridge.data.readers.preparing import (
    TEST,
    TRAIN,
    VALIDATION,
    InputSpec,
    prepared,
    read_items,
    sides_of,
)
from fedbridge.data.readers.rows import Partition, Row
from fedbridge.data.site import partitions_of
from sites import common, pictures, site, task

TEXTS, PICTURES = InputSpec.of(common("text")), InputSpec.of(common())
HELD = Images(path="p")


def texts(*rows: tuple[str | None, str]) -> Partition:
    found = [Row(f"row {n}", label, content) for n, (label, content) in enumerate(rows)]
    return Partition("spring", True, lambda: found)


def many(labels=("cat", "dog"), count: int = 30) -> list[tuple[str, str]]:
    return [(label, f"{label} {n}") for label in labels for n in range(count)]


def test_pictures_are_drawn_for_the_fm_and_for_small_models(tmp_path):
    frame = InputSpec.of(common(large={"size": 24}))
    task(tmp_path / "p", ["cat", "dog"])
    (found,) = partitions_of(site(tmp_path, kind="images", path="p"))
    part = prepared(found, frame, HELD)
    assert part.items.shape == (50, 3, 24, 24)
    assert part.inputs.shape == (50, 3, 16, 16)
    assert np.bincount(part.labels).tolist() == [25, 25]
    assert part.classes == ("cat", "dog", "eel", "fox")


def test_texts_are_kept_and_tokenised():
    part = prepared(texts(*many()), TEXTS, HELD)
    place = part.items.index("dog 7")
    assert part.labels[place] == 1
    assert np.array_equal(part.inputs[place], tokenize("dog 7"))


def test_cells_bring_tokens_of_their_own():
    content = Cells((("weight", 1.25),))
    found, _ = read_items(Partition("a", True, lambda: [Row("r", "cat", content)]), TEXTS)
    assert found[0].item == "weight: 1.25"
    assert np.array_equal(found[0].input, content.tokens)


def test_the_order_of_reading_does_not_matter():
    rows = many()
    one, other = (prepared(texts(*part), TEXTS, HELD) for part in (rows, rows[::-1]))
    assert one.items == other.items
    assert np.array_equal(one.labels, other.labels)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ((None, "a"), "must have a label, found none"),
        (
            ("ape", "a"),
            "label must be one of data.classes of the common config (cat, dog, eel, fox), found "
            "'ape'",
        ),
        (("cat", "  "), "must have a content, found an empty one"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row, rule):
    with pytest.raises(UserError) as caught:
        prepared(texts(*many(), row), TEXTS, HELD)
    assert str(caught.value) == (
        f"task 'spring': of 61 items 1 cannot be used: row 60: {rule}. data.broken = 'skip' leaves "
        f"them out"
    )


def test_texts_are_refused_where_pictures_are_agreed_on():
    _, (fault,) = read_items(texts(("cat", "a cat")), PICTURES)
    assert str(fault) == "row 0: must be of data.modality = 'image' of the common config"


def test_all_broken_pictures_are_told_at_once(tmp_path):
    task(tmp_path / "p", ["cat"])
    (tmp_path / "p" / "cat" / "cut.png").write_bytes(b"\x89PNG and no more")
    Image.new("RGB", (40, 40)).save(tmp_path / "whole.png")
    half = (tmp_path / "whole.png").read_bytes()[:60]
    (tmp_path / "p" / "cat" / "half.png").write_bytes(half)
    (found,) = partitions_of(site(tmp_path, kind="images", path="p"))
    with pytest.raises(UserError) as caught:
        prepared(found, PICTURES, HELD)
    message = str(caught.value)
    assert message.startswith("task 'all': of 27 items 2 cannot be used: ")
    assert f"{tmp_path / 'p' / 'cat' / 'cut.png'}: cannot be read" in message
    assert f"{tmp_path / 'p' / 'cat' / 'half.png'}: cannot be read" in message


def test_an_empty_task_is_refused():
    with pytest.raises(UserError, match="task 'spring': must have items, found none"):
        prepared(texts(), TEXTS, HELD)


def test_a_class_that_is_wholly_held_back_is_refused():
    row = next(  # a text that the seed puts into the test
        ("eel", f"eel {n}")
        for n in range(100)
        if sides_of(np.array([read_one(f"eel {n}")]), HELD)[0] == TEST
    )
    with pytest.raises(UserError) as caught:
        prepared(texts(*many(), row), TEXTS, HELD)
    assert (
        "task 'spring': class 'eel' must have a training item, found 1 in all, 1 for the test"
        in str(caught.value)
    )


def test_a_task_without_a_test_item_is_refused():
    found = [("cat", f"cat {n}") for n in range(100)]
    kept = [row for row in found if sides_of(np.array([read_one(row[1])]), HELD)[0] == TRAIN]
    with pytest.raises(UserError, match="must have a test item, found none of"):
        prepared(texts(*kept), TEXTS, HELD)


def read_one(text: str) -> int:
    (item,), _ = read_items(texts(("cat", text)), TEXTS)
    return item.group


# -- the division


def test_shares_are_as_the_settings_say():
    groups = np.random.default_rng(0).integers(0, 2**62, 4000)
    sides = sides_of(groups, Images(path="p", test=0.25, validation=0.15))
    shares = np.bincount(sides, minlength=3) / len(sides)
    assert shares[[TRAIN, VALIDATION, TEST]] == pytest.approx([0.6, 0.15, 0.25], abs=0.02)


def test_another_seed_is_another_division():
    groups = np.arange(200)
    one, other = (sides_of(groups, Images(path="p", seed=seed)) for seed in (0, 1))
    assert (one != other).any()
    assert np.array_equal(one, sides_of(groups, Images(path="p", seed=0)))


def test_the_same_picture_in_two_formats_is_one_group(tmp_path):
    (path,) = pictures(tmp_path / "p", "cat", 1)
    Image.open(path).save(path.with_suffix(".bmp"))
    pictures(tmp_path / "p", "dog", 1)
    (found,) = partitions_of(site(tmp_path, kind="images", path="p"))
    items, _ = read_items(found, PICTURES)
    groups = {item.place.rpartition("/")[2] + str(item.label): item.group for item in items}
    assert groups["0-0.png0"] == groups["0-0.bmp0"] != groups["0-0.png1"]


def test_rows_of_one_group_stay_together():
    rows = [Row(f"row {n}", "cat", f"text {n}", f"owner {n % 5}") for n in range(50)]
    items, _ = read_items(Partition("a", True, lambda: rows), TEXTS)
    assert len({item.group for item in items}) == 5


def test_a_picture_of_a_group_that_is_tested_is_not_trained_on_in_another(tmp_path):
    tested = next(f"owner {n}" for n in range(99) if side_of(f"owner {n}") == TEST)
    learnt = next(f"owner {n}" for n in range(99) if side_of(f"owner {n}") == TRAIN)
    rows = [Row(f"row {n}", "cat", f"cat {n}", f"owner {n}") for n in range(60)]
    rows += [Row("one", "cat", "twice", tested), Row("other", "cat", "twice", learnt)]
    partition = Partition("a", True, lambda: rows)
    with pytest.raises(UserError, match="other: must not be on both sides: equals one of the test"):
        prepared(partition, TEXTS, HELD)
    part = prepared(partition, TEXTS, HELD.model_copy(update={"broken": "skip"}))
    assert len(part.labels) == 61
    assert part.origin.broken == ("other: must not be on both sides: equals one of the test",)


def side_of(owner: str) -> int:
    (item,), _ = read_items(Partition("a", True, lambda: [Row("r", "cat", "x", owner)]), TEXTS)
    return int(sides_of(np.array([item.group]), HELD)[0])


@pytest.mark.parametrize("kind", ["images", "huggingface"])
def test_deep_pictures_of_a_site_have_levels(tmp_path, kind):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        path = tmp_path / "p" / ("cat", "dog")[number % 2] / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rng.random((16, 16)) * 9 - 3).astype(np.float32)).save(path)
        rows.append({"img": {"bytes": path.read_bytes(), "path": None}, "y": path.parent.name})
    kinds = datasets.Features({"img": datasets.Image(), "y": datasets.Value("string")})
    datasets.Dataset.from_list(rows, features=kinds).save_to_disk(str(tmp_path / "saved"))
    data = {"images": {"path": "p"}, "huggingface": {"path": "saved", "image": "img", "label": "y"}}
    settings = site(tmp_path, kind=kind, **data[kind])
    with pytest.raises(
        UserError, match=r"mode F, values from -[\d.]+ to [\d.]+: .* data\.levels = "
    ):
        prepared(partitions_of(settings)[0], PICTURES, settings.data)
    settings = site(tmp_path, kind=kind, levels=[-3, 6], **data[kind])
    part = prepared(partitions_of(settings)[0], PICTURES, settings.data)
    assert len(np.unique(part.groups)) == 40 and abs(part.inputs.mean() - 127.5) < 3
