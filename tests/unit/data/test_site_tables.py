"""Tables of every kind give the same rows; columns, periods and values are checked."""

import datetime

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from fedbridge.core.errors import UserError
from fedbridge.data.readers.cells import cells
from fedbridge.data.readers.pixels import Encoded
from fedbridge.data.readers.preparing import InputSpec, read_items
from fedbridge.data.site import partitions_of
from sites import CLASSES, common, rows, site, write_csv

TABLE = rows(90)


def in_kind(kind: str, folder, table=TABLE, **settings):
    """Write a table as a file of this kind and return its tasks."""
    folder.mkdir(exist_ok=True)
    path = folder / {"csv": "t.csv", "parquet": "t.parquet", "huggingface": "set"}[kind]
    if kind == "csv":
        write_csv(path, table)
    elif kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), path)
    else:
        datasets.disable_progress_bars()
        datasets.Dataset.from_list(table).save_to_disk(str(path))
    return partitions_of(site(folder, kind=kind, path=path.name, **settings))


KINDS = pytest.mark.parametrize("kind", ["csv", "parquet", "huggingface"])


@KINDS
def test_texts_and_labels(tmp_path, kind):
    (found,) = in_kind(kind, tmp_path, text="text")
    read = list(found.rows())
    assert [row.content for row in read] == [row["text"] for row in TABLE]
    assert [row.label for row in read] == [row["label"] for row in TABLE]
    assert len({row.place for row in read}) == len(TABLE)


@KINDS
def test_rows_of_columns_are_the_same_texts_and_tokens_whatever_the_kind(tmp_path, kind):
    (found,) = in_kind(kind, tmp_path, features=["weight", "colour"])
    first = next(iter(found.rows())).content
    assert first.text == "weight: 0.7, colour: red"
    assert np.array_equal(first.tokens, cells({"weight": 0.7, "colour": "red"}).tokens)


@KINDS
def test_a_column_of_tasks(tmp_path, kind):
    found = in_kind(kind, tmp_path, text="text", task="task")
    assert [one.name for one in found] == ["task-1", "task-2", "task-3"]
    assert [len(list(one.rows())) for one in found] == [40, 40, 10]
    assert [one.complete for one in found] == [True, True, False]


@KINDS
@pytest.mark.parametrize(
    ("period", "first", "count"), [("month", "2025-01", 3), ("week", "2025-W01", 11)]
)
def test_a_column_of_dates_is_cut_into_periods(tmp_path, kind, period, first, count):
    found = in_kind(kind, tmp_path, text="text", date="date", period=period)
    assert (found[0].name, len(found)) == (first, count)
    assert sum(len(list(one.rows())) for one in found) == len(TABLE)


@KINDS
def test_rows_that_belong_together_say_so(tmp_path, kind):
    (found,) = in_kind(kind, tmp_path, text="text", group="owner")
    assert [row.group for row in found.rows()][:4] == ["owner-0"] * 3 + ["owner-1"]


@KINDS
@pytest.mark.parametrize("role", ["label", "text", "task", "group"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path, kind, role):
    settings = {"text": "text"} | {role: "nothing"}
    with pytest.raises(UserError) as caught:
        [list(one.rows()) for one in in_kind(kind, tmp_path, **settings)]
    assert f"data.{role}: must be one of the columns text, label, weight" in str(caught.value)
    assert "found 'nothing'" in str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_of_a_folder_are_tasks(tmp_path, kind):
    for name, start in (("10", 40), ("9", 0)):
        in_kind(kind, tmp_path / name, rows(8, start), text="text")
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / name / f"t.{kind}").rename(tmp_path / "all" / f"day-{name}.{kind}")
    found = partitions_of(site(tmp_path, kind=kind, path="all", text="text"))
    assert [one.name for one in found] == ["day-9", "day-10"]
    assert [one.complete for one in found] == [True, False]
    assert next(iter(found[0].rows())).content == "cat number 0 in the wood"


def test_real_dates_need_no_words(tmp_path):
    table = [row | {"date": datetime.date.fromisoformat(row["date"])} for row in TABLE]
    found = in_kind("parquet", tmp_path, table, text="text", date="date", period="day")
    assert found[0].name == "2025-01-01"


def test_a_value_that_is_no_date_is_refused(tmp_path):
    table = [TABLE[0] | {"date": "yesterday"}]
    with pytest.raises(UserError, match=r"t.csv: line 2: column 'date' must hold dates such as"):
        in_kind("csv", tmp_path, table, text="text", date="date")


def test_a_task_without_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="line 2: must have a value in column 'task', found none"):
        in_kind("csv", tmp_path, [TABLE[0] | {"task": ""}], text="text", task="task")


def test_missing_values_are_left_out_and_a_missing_label_is_none(tmp_path):
    table = [TABLE[0] | {"weight": None, "label": None}, TABLE[1]]
    (found,) = in_kind("parquet", tmp_path, table, features=["weight", "colour"])
    first = next(iter(found.rows()))
    assert (first.content.text, first.label) == ("colour: red", None)


def test_labels_of_numbers_are_words(tmp_path):
    table = [TABLE[0] | {"label": 3}, TABLE[1] | {"label": 4}]
    for kind in ("csv", "parquet"):
        (found,) = in_kind(kind, tmp_path / kind, table, text="text")
        assert [row.label for row in found.rows()] == ["3", "4"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"text,label\na,b,c\n", "line 2: must have a value for each column of the header"),
        (b"text,label\na\n", "line 2: must have a value for each column of the header"),
        (b"text,label\n\x81,b\n", "must be a CSV file in UTF-8, found neither that nor cp1252"),
        (b"text,label\n", "must have rows, found none"),
    ],
)
def test_a_damaged_csv_file_is_refused(tmp_path, content, expected):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError) as caught:
        partitions_of(site(tmp_path, kind="csv", path="t.csv", text="text"))
    assert expected in str(caught.value)


def test_a_damaged_parquet_file_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"t.parquet: must be a Parquet file"):
        partitions_of(site(tmp_path, kind="parquet", path="t.parquet", text="text"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_of_another_kind_is_refused(tmp_path, kind):
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "table.pkl").touch()
    with pytest.raises(UserError, match=r"table.pkl: must end with"):
        partitions_of(site(tmp_path, kind=kind, path="all", text="text"))
    with pytest.raises(UserError, match="must be a file or a folder, found nothing"):
        partitions_of(site(tmp_path, kind=kind, path="none", text="text"))


# -- Hugging Face sets


def hub_pictures(folder):
    folder.mkdir(exist_ok=True)
    kinds = {"img": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    drawn = [Image.new("RGB", (8, 8), (40 * n, 0, 0)) for n in range(4)]
    table = datasets.Dataset.from_dict(
        {"img": drawn, "label": [0, 1, 2, 3]}, features=datasets.Features(kinds)
    )
    return table, folder / "set"


def test_pictures_and_class_names_of_a_hugging_face_set(tmp_path):
    table, path = hub_pictures(tmp_path)
    datasets.DatasetDict(train=table, test=table.select([0])).save_to_disk(str(path))
    settings = site(tmp_path, kind="huggingface", path="set", image="img", split="train")
    (found,) = partitions_of(settings)
    read = list(found.rows())
    assert [row.label for row in read] == list(CLASSES)
    assert isinstance(read[0].content, Encoded)
    assert read[1].content.data().startswith(b"\x89PNG")
    other = site(tmp_path, kind="huggingface", path="set", image="img", split="dev")
    with pytest.raises(UserError, match=r"data.split must be one of train, test, found 'dev'"):
        partitions_of(other)


def test_a_set_that_points_at_other_files_is_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    pointer = {"bytes": None, "path": str(tmp_path / "secret.png")}
    table = datasets.Dataset.from_dict({"img": [pointer], "label": ["cat"]})
    table.cast_column("img", {"bytes": datasets.Value("binary"), "path": datasets.Value("string")})
    table.save_to_disk(str(tmp_path / "set"))
    (found,) = partitions_of(site(tmp_path, kind="huggingface", path="set", image="img"))
    with pytest.raises(ValueError, match="must lie in the data set itself"):
        next(iter(found.rows())).content.data()


def test_a_folder_that_save_to_disk_did_not_write_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="must be a folder that `save_to_disk`"):
        partitions_of(site(tmp_path, kind="huggingface", path="set", text="text"))


# -- cells


def test_close_numbers_share_a_token_and_far_ones_none():
    def tokens(value: float) -> set[int]:
        return set(cells({"weight": value}).tokens[:2].tolist())

    assert len(tokens(1.21)) == 2
    assert tokens(1.21) == tokens(1.24)  # equal at two digits
    assert len(tokens(1.21) & tokens(1.37)) == 1  # equal at one digit
    assert not tokens(1.21) & tokens(3.9)


def test_a_word_has_one_token_that_its_column_decides():
    one, other = cells({"a": "Red"}).tokens, cells({"b": "red"}).tokens
    assert (one > 0).sum() == 1
    assert one[0] == cells({"a": "red"}).tokens[0] != other[0]


def test_a_value_that_is_no_value_is_refused():
    with pytest.raises(UserError, match="column 'a' must hold numbers, words or dates"):
        cells({"a": [1, 2]})


def test_rows_that_cannot_be_used_are_told_together(tmp_path):
    lines = "text,label,task\none,cat,1\ntwo\nthree,,1\n,cat,1\nfive,dog,1\nsix,cat,\n"
    (tmp_path / "t.csv").write_text(lines)
    (found,) = partitions_of(site(tmp_path, kind="csv", path="t.csv", text="text", task="task"))
    items, faults = read_items(found, InputSpec.of(common("text")))
    assert {item.item for item in items} == {"one", "five"}
    assert [fault.rule for fault in faults] == [
        "must have a value for each column of the header",
        "must have a value in column 'task', found none",
        "must have a label, found none",
        "must have a content, found an empty one",
    ]


def test_an_empty_split_of_a_saved_set_is_named(tmp_path):
    whole = datasets.Dataset.from_list([{"text": "a", "label": "cat"}])
    sets = datasets.DatasetDict(train=whole, test=whole.select([]))
    sets.save_to_disk(str(tmp_path / "saved"))
    data = {"kind": "huggingface", "path": "saved", "text": "text"}
    (found,) = partitions_of(site(tmp_path, **data))
    assert len(list(found.rows())) == 1
    with pytest.raises(UserError, match="be one of train, found 'test', which has no rows"):
        partitions_of(site(tmp_path, **data, split="test"))
