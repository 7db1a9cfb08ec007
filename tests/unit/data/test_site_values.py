"""The same values are the same words, numbers, gaps and tasks in every kind of table."""

import datetime
import os
import re
import time
from decimal import Decimal

import datasets
import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet
import pytest
import sqlalchemy

from fedbridge.config import Own
from fedbridge.core.errors import UserError
from fedbridge.data.own.periods import numbered
from fedbridge.data.own.samples import Sample, in_csv, in_parquet
from fedbridge.data.readers.dates import as_date
from fedbridge.data.readers.faults import Fault
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.site import partitions_of
from sites import site

HERE = datetime.timezone(datetime.timedelta(hours=2))


def parquet(folder, **columns):
    path = folder / "t.parquet"
    arrow.parquet.write_table(arrow.table(columns), path)
    return site(folder, kind="parquet", path="t.parquet", **SETTINGS)


def hugging_face(folder, **columns):
    datasets.disable_progress_bars()
    datasets.Dataset(arrow.table(columns)).save_to_disk(str(folder / "set"))
    return site(folder, kind="huggingface", path="set", **SETTINGS)


def from_csv(folder, **columns):
    pd.DataFrame({name: pd.Series(values) for name, values in columns.items()}).to_csv(
        folder / "t.csv", index=False
    )
    return site(folder, kind="csv", path="t.csv", **SETTINGS)


def database(folder, monkeypatch, **columns):
    engine = sqlalchemy.create_engine(f"sqlite:///{folder / 'd.db'}")
    pd.DataFrame(columns).to_sql("rows", engine, index=False)
    monkeypatch.setenv("FEDBRIDGE_DATABASE", f"sqlite:///{folder / 'd.db'}")
    return site(folder, kind="sql", table="rows", **SETTINGS)


SETTINGS = {"text": "text", "task": "task", "group": "group"}
WHOLE = {
    "text": ["a", "b", "c"],
    "label": [3, 7, 44054006],
    "task": [2, 2, 10],
    "group": [101, 101, 9007199254740991],
}
FLOATS = WHOLE | {name: list(map(float, WHOLE[name])) for name in ("label", "task", "group")}
TEXTS = WHOLE | {name: [f"{v:.1f}" for v in WHOLE[name]] for name in ("label", "task", "group")}
EXACT = WHOLE | {
    name: [Decimal(v).quantize(Decimal("0.01")) for v in WHOLE[name]]
    for name in ("label", "task", "group")
}


@pytest.mark.parametrize(
    "columns", [WHOLE, FLOATS, TEXTS, EXACT], ids=["whole", "floats", "texts", "exact"]
)
@pytest.mark.parametrize("kind", ["csv", "parquet", "huggingface", "sql"])
def test_whole_numbers_are_the_same_words_however_they_are_held(
    tmp_path, monkeypatch, kind, columns
):
    if kind == "sql":
        held = columns if columns is not EXACT else TEXTS  # SQLite holds no exact ones
        own = database(tmp_path, monkeypatch, **held)
    else:
        make = {"csv": from_csv, "parquet": parquet, "huggingface": hugging_face}[kind]
        own = make(tmp_path, **columns)
    tasks = partitions_of(own)
    assert [one.name for one in tasks] == ["2", "10"]
    rows = [row for one in tasks for row in one.rows()]
    assert [(row.label, row.group) for row in rows] == [
        ("3", "101"),
        ("7", "101"),
        ("44054006", "9007199254740991"),
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet", "huggingface", "sql"])
def test_words_for_nothing_are_missing_in_every_kind(tmp_path, monkeypatch, kind):
    columns = {
        "text": ["a", "b", "c"],
        "label": ["NA", "x", "None"],
        "task": ["t", "t", "t"],
        "group": ["null", "NaN", "g"],
    }
    if kind == "sql":
        own = database(tmp_path, monkeypatch, **columns)
    else:
        make = {"csv": from_csv, "parquet": parquet, "huggingface": hugging_face}[kind]
        own = make(tmp_path, **columns)
    notice = Notice()
    (task,) = partitions_of(own, notice)
    assert [(row.label, row.group) for row in task.rows()] == [
        (None, None),
        ("x", None),
        (None, "g"),
    ]
    assert notice.notes().missing == (
        "column 'label': 2 of 3 ('NA' 1, 'None' 1)",
        "column 'group': 2 of 3 ('null' 1, 'NaN' 1)",
    )
    named = own.model_copy(update={"data": own.data.model_copy(update={"missing": ()})})
    (task,) = partitions_of(named)
    assert [row.label for row in task.rows()] == ["NA", "x", "None"]


@pytest.mark.parametrize("make", [from_csv, parquet, hugging_face])
@pytest.mark.parametrize("columns", [WHOLE, FLOATS, TEXTS], ids=["whole", "floats", "texts"])
def test_numbers_may_stand_for_nothing_however_they_are_written(tmp_path, make, columns):
    own = make(tmp_path, **columns)
    coded = own.model_copy(update={"data": own.data.model_copy(update={"missing": ("7",)})})
    rows = [row for one in partitions_of(coded) for row in one.rows()]
    assert [row.label for row in rows] == ["3", None, "44054006"]


@pytest.mark.parametrize("make", [parquet, hugging_face])
def test_numbers_of_few_bits_have_the_digits_that_a_csv_file_has(tmp_path, make):
    columns = {name: WHOLE[name] for name in ("text", "task", "group")}
    columns |= {"label": ["x"] * 3, "w": arrow.array(np.array([0.1, 2.5, 1e-3], np.float32))}
    own = make(tmp_path, **columns)
    features = {"text": None, "features": ("w",)}
    own = own.model_copy(update={"data": own.data.model_copy(update=features)})
    rows = [row for one in partitions_of(own) for row in one.rows()]
    assert [row.content.text for row in rows] == ["w: 0.1", "w: 2.5", "w: 0.001"]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (arrow.array([[1], [2], [3]]), r"column 'label' must hold .* or dates, found list"),
        (arrow.array([{"a": 1}] * 3), r"column 'label' must hold .* or dates, found dict"),
        (arrow.array([b"\xff\xfe"] * 3), r"column 'label' must .* found bytes that are no UTF-8"),
    ],
)  # fmt: skip
def test_values_of_which_no_word_can_be_made_are_refused_by_name(tmp_path, values, found):
    own = parquet(tmp_path, **(WHOLE | {"label": values}))
    rows = [row for one in partitions_of(own) for row in one.rows()]
    first = min(str(row) for row in rows if isinstance(row, Fault))
    assert re.search(r"t.parquet: row 1: " + found, first)


def test_bytes_that_are_letters_are_a_word(tmp_path):
    own = parquet(tmp_path, **(WHOLE | {"label": [b"cat", "B\u00e4r".encode(), b"3.0"]}))
    rows = [row for one in partitions_of(own) for row in one.rows()]
    assert [row.label for row in rows] == ["cat", "B\u00e4r", "3"]


def test_truth_is_one_word_in_csv_and_parquet(tmp_path):
    columns = WHOLE | {"label": [True, False, True]}
    for make in (from_csv, parquet):
        rows = [row for one in partitions_of(make(tmp_path, **columns)) for row in one.rows()]
        assert [row.label for row in rows] == ["true", "false", "true"]


def test_a_column_that_is_there_twice_is_refused_in_every_kind(tmp_path, monkeypatch):
    names = ["text", "label", "label", "task", "group"]
    table = arrow.Table.from_arrays([arrow.array(["a"])] * 5, names=names)
    arrow.parquet.write_table(table, tmp_path / "t.parquet")
    twice = r"data.label: the column 'label' must stand once in the table, found it 2 times"
    with pytest.raises(UserError, match=twice):
        partitions_of(site(tmp_path, kind="parquet", path="t.parquet", **SETTINGS))
    own = Own(text="text")
    with pytest.raises(UserError, match=r"data.own.label: the column 'label' must stand once"):
        list(in_parquet(tmp_path / "t.parquet", own))
    database(tmp_path, monkeypatch, **WHOLE)
    query = 'SELECT text, label, task AS label, task, "group" FROM rows'
    with pytest.raises(UserError, match=twice):
        partitions_of(site(tmp_path, kind="sql", query=query, **SETTINGS))


# -- dates


@pytest.mark.parametrize(
    "value",
    [
        datetime.date(2025, 1, 31),
        datetime.datetime(2025, 1, 31, 23, 30),
        datetime.datetime(2025, 1, 31, 23, 30, tzinfo=datetime.UTC),
        datetime.datetime(2025, 1, 31, 0, 30, tzinfo=HERE),
        np.datetime64("2025-01-31T23:30"),
        pd.Timestamp("2025-01-31 00:30", tz="Europe/Berlin"),
        "2025-01-31",
        " 2025-01-31 23:30:00 ",
        "2025-01-31T23:30:00-08:00",
        "2025-01-31T00:30:00+14:00",
        "2025-01-31T23:30:00Z",
        "20250131",
        20250131,
        20250131.0,
    ],
)
def test_a_date_counts_as_it_is_written(value):
    assert as_date("d", value).date() == datetime.date(2025, 1, 31)


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_own_data_and_sites_have_the_same_tasks_wherever_they_are_read(tmp_path, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        moments = [
            "2025-01-31T23:30:00-08:00",
            "2025-02-01T00:30:00+14:00",
            "2025-01-31 23:59:59",
            "2025-03-01",
        ]
        columns = {"text": list("abcd"), "label": list("xyxy"), "when": moments}
        table = pd.DataFrame(columns)
        table.to_csv(tmp_path / "t.csv", index=False)
        stated = {"text": "text", "date": "when"}
        tasks = partitions_of(site(tmp_path, kind="csv", path="t.csv", **stated))
        samples = list(in_csv(tmp_path / "t.csv", Own(**stated)))
        numbers, names = numbered(tuple(one.task for one in samples), Own(**stated))
        assert [one.name for one in tasks] == list(names) == ["2025-01", "2025-02", "2025-03"]
        assert numbers.tolist() == [0, 1, 0, 2]
        aware = arrow.array(
            [datetime.datetime(2025, 1, 31, 23, 30, tzinfo=datetime.UTC)] * 4,
            arrow.timestamp("us", "Europe/Berlin"),
        )
        arrow.parquet.write_table(arrow.table(columns | {"when": aware}), tmp_path / "t.parquet")
        (task,) = partitions_of(site(tmp_path, kind="parquet", path="t.parquet", **stated))
        (sample, *_) = in_parquet(tmp_path / "t.parquet", Own(**stated))
        assert task.name == "2025-02"  # half past midnight in the zone that the column states
        assert isinstance(sample, Sample)
        assert sample.task == "2025-02-01T00:30:00"
    finally:
        os.environ.pop("TZ")
        time.tzset()


def test_dates_that_are_written_otherwise_are_read_by_their_format(tmp_path):
    (tmp_path / "t.csv").write_text("text,label,when\na,x,31.01.2025\nb,y,01.02.2025\n")
    stated = {"text": "text", "date": "when", "date_format": "%d.%m.%Y"}
    tasks = partitions_of(site(tmp_path, kind="csv", path="t.csv", **stated))
    assert [one.name for one in tasks] == ["2025-01", "2025-02"]
    assert [one.task[:10] for one in in_csv(tmp_path / "t.csv", Own(**stated))] == [
        "2025-01-31",
        "2025-02-01",
    ]


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("31.01.2025", "; data.own.date_format = '%d.%m.%Y' would read it"),
        ("01/02/2025", "; data.own.date_format = '%d/%m/%Y' or '%m/%d/%Y' would read it"),
        ("31.01.2025 08:30", "; data.own.date_format = '%d.%m.%Y %H:%M' would read it"),
        ("yesterday", ""),
        (1738281600, ""),
    ],
)
def test_a_date_of_another_form_is_refused_with_the_format_that_would_read_it(value, advice):
    with pytest.raises(UserError) as caught:
        as_date("d", value, where="data.own")
    rule = f"column 'd' must hold dates such as 2025-01-31, found {value!r}"
    assert str(caught.value) == rule + advice
