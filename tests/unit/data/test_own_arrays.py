"""Arrays of a program as a data set."""

import numpy as np
import pytest
import torch

from fedbridge.config import Data
from fedbridge.core.errors import UserError
from fedbridge.data import from_arrays, load_dataset
from fedbridge.methods.files import parse_config

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 40, 36, 3), np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(data: Data):
    return load_dataset(data.name, own=data.own)


def test_pictures_are_kept_as_they_are():
    square = PIXELS[:, 2:38]
    data = load(from_arrays(square, LABELS))
    assert np.array_equal(data.items, square.transpose(0, 3, 1, 2))
    assert data.inputs.shape == (6, 3, 32, 32)
    assert (data.modality, data.classes) == ("image", ("0", "1", "2"))
    assert data.labels.tolist() == LABELS


@pytest.mark.parametrize(
    "pictures",
    [
        PIXELS,
        PIXELS.transpose(0, 3, 1, 2),
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS).permute(0, 3, 1, 2),
        PIXELS / 255.0,
        (PIXELS / np.float32(255)).astype(np.float32),
        PIXELS.astype(np.int64),
        torch.from_numpy(PIXELS).float(),
        PIXELS.astype(np.uint16) * np.uint16(257),
        np.concatenate([PIXELS, np.full((6, 40, 36, 1), 255, np.uint8)], 3),
    ],
)
def test_the_same_pictures_in_whatever_form(pictures):
    wanted = load(from_arrays(PIXELS, LABELS)).items
    assert np.array_equal(load(from_arrays(pictures, LABELS)).items, wanted)


def test_grey_pictures_have_three_channels_and_small_ones_grow():
    grey = np.full((4, 8, 8), 7, np.uint8)
    grey[:, 0, 0] = range(4)
    data = load(from_arrays(grey, ["a", "b", "a", "b"]))
    assert data.items.shape == (4, 3, 32, 32)
    assert data.items[0, :, 20, 20].tolist() == [7, 7, 7]


def test_texts_with_sites_tasks_and_groups():
    data = load(
        from_arrays(
            ["one", "two", "three", "one"],
            np.array(["x", "y", "x", "y"]),
            domains=["b", "a", "a", "b"],
            tasks=[10, 9, 9, 10],
            groups=[1, 2, 2, 3],
        )
    )
    assert data.items == ("two", "three", "one", "one")  # by domain
    assert (data.domain_names, data.task_names) == (("a", "b"), ("9", "10"))
    assert data.tasks.tolist() == [0, 0, 1, 1]
    assert data.places == ("item 1", "item 2", "item 0", "item 3")
    assert data.groups[0] == data.groups[1] != data.groups[2] != data.groups[3]


def test_a_matrix_and_named_columns():
    matrix = np.array([[1.5, 2.0], [3.0, np.nan]])
    assert load(from_arrays(matrix, ["a", "b"])).items == ("x1: 1.5, x2: 2", "x1: 3")
    columns = {"age": [64, 30], "smoker": ["no", "yes"]}
    assert load(from_arrays(columns, ["a", "b"])).items[1] == "age: 30, smoker: yes"


def test_numbers_have_the_names_of_classes():
    data = load(from_arrays(["p", "q", "r"], torch.tensor([2, 0, 2]), classes=["n", "o", "m"]))
    assert [data.classes[label] for label in data.labels] == ["m", "n", "m"]


def test_what_is_equal_is_kept_once_and_what_differs_apart(cache):
    first = from_arrays(PIXELS, LABELS)
    kept = list((cache / "data-v1" / "own" / "arrays").iterdir())
    assert from_arrays(PIXELS.copy(), torch.tensor(LABELS)) == first
    assert list((cache / "data-v1" / "own" / "arrays").iterdir()) == kept
    others = [
        from_arrays(PIXELS, LABELS[::-1]),
        from_arrays(PIXELS ^ 1, LABELS),
        from_arrays(PIXELS, LABELS, tasks=LABELS),
        from_arrays(PIXELS, LABELS, domains=LABELS),
        from_arrays(PIXELS, LABELS, groups=LABELS),
    ]
    assert len({first.name, *(data.name for data in others)}) == 6


def test_texts_run_together_are_others():
    assert from_arrays(["ab", "c"], [0, 1]) != from_arrays(["a", "bc"], [0, 1])


def test_a_config_takes_them():
    config = parse_config({"data": from_arrays(PIXELS, LABELS)}, "test")
    assert config.data.title.startswith("arrays:")


def test_a_cache_without_them_is_told(cache, monkeypatch, tmp_path):
    data = from_arrays(PIXELS, LABELS)
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"these arrays are not in the cache .* hand them to"):
        load(data)


@pytest.mark.parametrize(
    ("items", "labels", "more", "expected"),
    [
        (PIXELS, [0] * 5, {}, "labels: must have a value for each of 6 items, found 5"),
        (PIXELS, 3, {}, "labels: must have a value for each of 6 items, found 1"),
        (PIXELS, [0, 1, 0, 1, 0, None], {}, "must have a value for each item, found none for 1"),
        (PIXELS, LABELS, {"tasks": [1]}, "tasks: must have a value for each of 6 items, found 1"),
        (PIXELS, LABELS, {"classes": "ab"}, "labels: must be numbers from 0 to 1 with classes"),
        (PIXELS * 0.9, LABELS, {}, "items: pictures: float64 from 0 to 229.5: which values are"),
        (
            PIXELS.astype(int) * 9,
            LABELS,
            {},
            "cannot be known; levels = [0, 4095], or what they are, says it",
        ),
        (
            PIXELS.astype(int) // 16,
            LABELS,
            {},
            "int64 from 0 to 15: which values are black and white",
        ),
        (np.full((2, 4, 4), np.nan), [0, 1], {}, "a number in every pixel, found 32 without (NaN)"),
        (PIXELS, LABELS, {"levels": (5, 5)}, "levels must be the value that is black and a larger"),
        (["p", "q"], [0, 1], {"levels": (0, 1)}, "levels: is only for pictures, found (0.0, 1.0)"),
        (np.zeros((2, 4, 4, 7), np.uint8), [0, 1], {}, "must have 1, 3 or 4 channels, last, or 1"),
        (np.zeros(3), [0, 1, 0], {}, "items: must be pictures"),
        (["", "b", "c"], [0, 1, 0], {}, "items: must be texts, found none ('') at item 0"),
        ({"a": [1, 2], "b": [1]}, [0, 1], {}, "must be of one length, found {'a': 2, 'b': 1}"),
        (np.zeros((2, 49)), [0, 1], {}, "must have 1 to 48 columns, found 49"),
        (["p", "q"], [1, 1], {}, "there must be at least two classes, found '1' (2)"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_kept(cache, items, labels, more, expected):
    with pytest.raises(UserError) as caught:
        from_arrays(items, labels, **more)
    assert expected in str(caught.value)
    arrays = cache / "data-v1" / "own" / "arrays"
    assert not arrays.exists() or not list(arrays.iterdir())


def test_levels_scale_arrays_and_stay_with_the_data():
    scans = PIXELS.astype(np.float32)[..., 0] * 4 - 500
    made = from_arrays(scans, LABELS, levels=(-500, 520))
    assert made.own.levels == (-500, 520)
    assert np.array_equal(load(made).items, load(from_arrays(PIXELS[..., 0], LABELS)).items)
    assert parse_config({"data": made.model_dump()}, "test").data.levels == (-500, 520)


def test_as_many_groups_as_scans_in_an_array():
    scans = np.random.default_rng(0).integers(0, 65536, (80, 9, 9)).astype(np.uint16)
    data = load(from_arrays(scans, np.arange(80) % 2))
    assert len(np.unique(data.groups)) == 80
    assert abs(data.items.mean() - 127.5) < 2
