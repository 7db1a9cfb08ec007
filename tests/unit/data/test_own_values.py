"""Values out of a program, and one's own files: words, gaps, real numbers, names of files."""

import datetime
import unicodedata

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from fedbridge.config import Own
from fedbridge.core.errors import UserError
from fedbridge.data import from_arrays, load_dataset
from fedbridge.data import own as own_package
from fedbridge.data.own.lists import shown_value
from sites import pictures, rows, write_csv

TEXTS = [f"note {n}" for n in range(8)]
KINDS = ["a", "b", "a", "b", "a", "b", "a", "b"]
NUMBERS = [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))


def load(data):
    return load_dataset(data.name, own=data.own)


def refused(*args, **about) -> str:
    with pytest.raises(UserError) as caught:
        from_arrays(*args, **about)
    return str(caught.value)


@pytest.mark.parametrize(
    "items",
    [
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        pd.Series(TEXTS),
        pd.Series(TEXTS, dtype="string"),
        pd.Series(TEXTS, dtype="category"),
        pd.Index(TEXTS),
        arrow.array(TEXTS),
    ],
)
def test_texts_of_any_library_are_the_same_data(items):
    assert from_arrays(items, KINDS) == from_arrays(TEXTS, KINDS)


@pytest.mark.parametrize(
    "labels",
    [
        [float(n) for n in NUMBERS],
        [str(n) for n in NUMBERS],
        np.array(NUMBERS, np.uint8),
        np.array(NUMBERS, np.float32),
        np.array(NUMBERS, object),
        torch.tensor(NUMBERS),
        torch.tensor(NUMBERS, dtype=torch.bfloat16),
        pd.Series(NUMBERS, dtype="Int64"),
        pd.Series(NUMBERS, dtype=float),
        pd.Categorical(NUMBERS),
        arrow.array(NUMBERS),
        [np.int64(n) for n in NUMBERS],
        [torch.tensor(n) for n in NUMBERS],
    ],
)
def test_whole_numbers_of_any_library_are_the_same_labels(labels):
    assert from_arrays(TEXTS, labels) == from_arrays(TEXTS, NUMBERS)
    named = load(from_arrays(TEXTS, labels, classes=["no", "yes"]))
    assert [named.classes[label] for label in named.labels[:2]] == ["no", "yes"]


def test_truth_values_have_the_names_of_classes():
    named = load(from_arrays(TEXTS, np.array(NUMBERS, bool), classes=["no", "yes"]))
    assert [named.classes[label] for label in named.labels[:2]] == ["no", "yes"]
    assert load(from_arrays(TEXTS, np.array(NUMBERS, bool))).classes == ("false", "true")


def test_long_codes_stay_apart():
    codes = [44054006.0 + n % 4 for n in range(8)]
    assert load(from_arrays(TEXTS, codes)).classes == tuple(str(44054006 + n) for n in range(4))
    large = [2**53 + 1, 2**53] * 4
    assert load(from_arrays(TEXTS, large)).classes == ("9007199254740992", "9007199254740993")


@pytest.mark.parametrize("make", [pd.DataFrame, dict, lambda d: dict(pd.DataFrame(d).items())])
def test_columns_of_a_frame_are_columns(make):
    columns = {
        "age": np.array([0.1, 2.5] * 4, np.float32),
        "smoker": [True, False] * 4,
        "seen": pd.to_datetime(["2025-01-31", None] * 4),
        "kind": pd.Categorical(KINDS),
        "count": pd.array([1, pd.NA] * 4, dtype="Int64"),
    }
    assert load(from_arrays(make(columns), KINDS)).items[:2] == (
        "age: 0.1, smoker: true, seen: 2025-01-31, kind: a, count: 1",
        "age: 2.5, smoker: false, kind: b",
    )


def test_a_matrix_of_few_bits_has_few_digits():
    matrix = np.array([[0.1, 2], [0.2, 3]], np.float32)
    assert load(from_arrays(matrix, ["a", "b"])).items[0] == "x1: 0.1, x2: 2"
    assert from_arrays(torch.tensor(matrix), ["a", "b"]) == from_arrays(matrix, ["a", "b"])


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA, pd.NaT, np.nan, "NA", "null", " "])
def test_what_is_missing_is_told_by_its_item(nothing):
    for name in ("labels", "domains", "tasks", "groups", "split"):
        values = [*KINDS[:3], nothing, *KINDS[4:]]
        about = {"labels": KINDS} | {name: values}
        expected = f"{name}: must have a value for each item, found none for 1, the first being "
        assert expected + f"item 3 ({shown_value(nothing)})" in refused(TEXTS, **about)


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA, "NA"])
def test_texts_that_are_missing_are_told_by_their_item(nothing):
    items = [*TEXTS[:5], nothing, *TEXTS[6:]]
    expected = f"items: must be texts, found none ({shown_value(nothing)}) at item 5"
    assert refused(items, KINDS) == refused(pd.Series(items, dtype=object), KINDS) == expected


def test_words_for_nothing_can_be_words():
    labels = ["NA", "None"] * 4
    assert load(from_arrays(TEXTS, labels, missing=())).classes == ("NA", "None")


def test_long_numbers_beside_missing_ones_keep_their_digits():
    column = pd.Series([2**53 + 1, pd.NA] * 4, dtype="Int64")
    items = load(from_arrays({"n": column, "m": NUMBERS}, KINDS)).items
    assert items[:2] == ("n: 9007199254740993, m: 0", "m: 1")
    assert "found none for 4, the first being item 1 (<NA>)" in refused(TEXTS, column)


def test_dates_that_are_missing_are_told():
    days = pd.Series([*pd.date_range("2025", periods=7), pd.NaT])
    assert "found none for 1, the first being item 7 (" in refused(TEXTS, KINDS, tasks=days)
    whole = load(from_arrays(TEXTS, KINDS, tasks=pd.date_range("2025", periods=8)))
    assert whole.task_names[:2] == ("2025-01-01", "2025-01-02")
    plain = [datetime.date(2025, 1, 1 + n) for n in range(8)]
    assert load(from_arrays(TEXTS, KINDS, tasks=plain)).task_names == whole.task_names


HOT = np.eye(2)[NUMBERS]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (HOT, "found the shape (8, 2); of scores or one-hot rows hand over labels.argmax(1)"),
        (HOT.tolist(), "found the shape (8, 2); of scores or one-hot rows hand over"),
        (torch.tensor(HOT), "found the shape (8, 2); of scores or one-hot rows hand over"),
        (pd.DataFrame(HOT), "found the shape (8, 2); of scores or one-hot rows hand over"),
        (np.array(NUMBERS)[:, None], "found the shape (8, 1); hand over labels.ravel()"),
        (torch.tensor(NUMBERS)[:, None], "found the shape (8, 1); hand over labels.ravel()"),
        ([[n] for n in NUMBERS], "found the shape (8, 1); hand over labels.ravel()"),
        (np.linspace(0, 1, 8), "quantities cannot be learnt; put them into a few bins (pandas"),
        ([f"{n / 7:.3f}" for n in range(8)], "labels must be names or whole numbers, found 6 diff"),
        ([n - 1 for n in NUMBERS], "labels: must be numbers from 0 to 1 with classes, found '-1'"),
        ([{"a": 1}] * 8, "labels: item 0: must hold numbers, words or dates, found dict"),
        ([b"\xff"] * 8, "labels: item 0: must hold numbers, words or dates, found bytes that are"),
        ([(1, 2)] * 8, "found the shape (8, 2)"),
        ("abababab", "labels: must have a value for each of 8 items, found 1"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_refused_with_what_to_do(labels, expected):
    classes = ["no", "yes"] if "with classes" in expected else None
    assert expected in refused(TEXTS, labels, classes=classes)


def test_a_few_numbers_with_fractions_may_be_names():
    assert load(from_arrays(TEXTS, [0.5, 1.5] * 4)).classes == ("0.5", "1.5")


def test_quantities_in_a_table_are_no_labels(tmp_path):
    made = [row | {"label": 36.5 + n / 7} for n, row in enumerate(rows(40))]
    path = write_csv(tmp_path / "t.csv", made)
    expected = r"found 40 different numbers with a fraction, such as 36\.5: quantities"
    with pytest.raises(UserError, match=expected):
        load_dataset(f"csv:{path}", own=Own(text="text"))
    arrow.parquet.write_table(arrow.Table.from_pylist(made), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=expected):
        load_dataset(f"parquet:{tmp_path / 't.parquet'}", own=Own(text="text"))


# -- names of files and folders


@pytest.mark.parametrize(("disk", "told"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_file_is_found_whichever_way_its_letters_are_composed(tmp_path, disk, told):
    folder = tmp_path / unicodedata.normalize(disk, "Möwen")
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (9, 9), (40 * number, 0, 0)).save(
            folder / unicodedata.normalize(told, f"möwe {number}.png")
        )
    names = [unicodedata.normalize(told, f"Möwen/möwe {n}.png") for n in range(4)]
    path = write_csv(
        tmp_path / "t.csv", [{"file": f, "label": k} for f, k in zip(names, KINDS[:4], strict=True)]
    )
    assert len(load_dataset(f"csv:{path}", own=Own(image="file"))) == 4


def test_folders_of_both_forms_are_one_class_domain_and_task(tmp_path):
    for form in ("NFC", "NFD"):
        for number in (0, 1):
            made = pictures(tmp_path / "made", "cat", 2, seed=number)
            place = tmp_path / "p" / form / unicodedata.normalize(form, "Tür")
            place = place / unicodedata.normalize(form, ("Bär", "Möwe")[number])
            place.mkdir(parents=True)
            for path in made:
                path.rename(place / path.name)
    (tmp_path / "q").mkdir()
    for form in ("NFC", "NFD"):
        folder = unicodedata.normalize(form, "Tür")
        (tmp_path / "p" / form / folder).rename(tmp_path / "q" / folder)
    data = load_dataset(f"folder:{tmp_path / 'q'}", own=Own(layout="domain/class/file"))
    assert (data.classes, data.domain_names, len(data)) == (
        ("B\u00e4r", "M\u00f6we"),
        ("T\u00fcr",),
        8,
    )
    data = load_dataset(f"folder:{tmp_path / 'q'}", own=Own(layout="task/class/file"))
    assert data.task_names == ("T\u00fcr",)


def test_what_was_prepared_by_older_rules_is_not_used(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "t.csv", rows(8))
    load_dataset(f"csv:{path}", own=Own(text="text"))
    folder = tmp_path / "cache" / "data-v1" / "own" / "csv"
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(own_package, "RULES", 99)
    load_dataset(f"csv:{path}", own=Own(text="text"))
    assert len(list(folder.iterdir())) == 2


def test_what_was_noticed_is_kept_with_what_was_prepared(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("temp;label\n36,5;a\nNA;a\n37,5;b\n40,1;A\n")
    own = Own(features=["temp"], broken="skip")
    first = load_dataset(f"csv:{path}", own=own)
    assert first.items == ("temp: 36.5", "temp: 37.5", "temp: 40.1")
    again = load_dataset(f"csv:{path}", own=own)
    assert again.notes == first.notes
    assert first.notes.missing == ("column 'temp': 1 of 4 ('NA' 1)",)
    assert first.notes.odd == ("label: 'a' and 'A' differ in case, blanks or last zeros alone",)
    assert [line[:24] for line in first.notes.guessed] == [
        "';' as what stands betwe",
        "numbers as with a decima",
    ]
