"""One's own tables: texts, numbers and pictures; columns of sites, tasks and dates."""

import io

import numpy as np
import pyarrow as arrow
import pyarrow.parquet
import pytest
from PIL import Image

from fedbridge.config import Own
from fedbridge.core.errors import UserError
from fedbridge.data import load_dataset
from sites import CLASSES, pictures, rows, write_csv


def load(path, **own):
    kind = "csv" if path.suffix == ".csv" or path.is_dir() else "parquet"
    return load_dataset(f"{kind}:{path}", cache=path.parent / "cache", own=Own(**own))


def refused(path, **own) -> str:
    with pytest.raises(UserError) as caught:
        load(path, **own)
    return str(caught.value)


def table(tmp_path, *changes, count=8):
    made = rows(count)
    for place, change in changes:
        made[place] |= change
    return write_csv(tmp_path / "t.csv", made)


def test_texts_with_sites_and_tasks(tmp_path):
    path = table(tmp_path, (0, {"task": "task-10"}), (1, {"task": "task-9"}))
    data = load(path, text="text", domain="colour", task="task")
    assert (data.name, data.modality, data.classes) == ("csv:t.csv", "text", CLASSES)
    assert (data.domain_names, data.task_names) == (
        ("grey", "red"),
        ("task-1", "task-9", "task-10"),
    )
    assert data.items[0] == "dog number 1 in the wood"
    assert data.places[0] == "t.csv: line 3"
    assert data.labels.tolist() == [1, 3, 1, 3, 0, 2, 0, 2]
    assert data.tasks.tolist() == [1, 0, 0, 0, 2, 0, 0, 0]


def test_numbers_and_words_are_one_text(tmp_path):
    data = load(table(tmp_path), features=["weight", "colour"])
    assert data.items[0] == "weight: 0.7, colour: red"


def test_rows_that_belong_together_are_one_group(tmp_path):
    groups = load(table(tmp_path), text="text", group="owner").groups
    assert [len(set(groups[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1]
    assert len(set(groups)) == 3


def test_csv_and_parquet_are_read_alike(tmp_path):
    path = table(tmp_path)
    arrow.parquet.write_table(arrow.Table.from_pylist(rows(8)), tmp_path / "t.parquet")
    one = load(path, text="text", date="date")
    other = load(tmp_path / "t.parquet", text="text", date="date")
    assert (one.items, one.task_names) == (other.items, other.task_names)
    assert np.array_equal(one.groups, other.groups)


def test_a_folder_of_files_is_one_table(tmp_path):
    write_csv(tmp_path / "all" / "1.csv", rows(4))
    write_csv(tmp_path / "all" / "2.csv", rows(4, start=4))
    data = load(tmp_path / "all", text="text")
    assert data.items == tuple(row["text"] for row in rows(8))
    assert data.places[4] == "2.csv: line 2"


def test_rows_without_label_date_or_text_are_told_and_can_be_left_out(tmp_path):
    path = table(
        tmp_path,
        (1, {"label": ""}),
        (2, {"date": "yesterday"}),
        (3, {"text": " "}),
        (4, {"date": ""}),
    )
    told = (
        "t.csv: line 3: must have a label, found none",
        "t.csv: line 4: column 'date' must hold dates such as 2025-01-31, found 'yesterday'",
        "t.csv: line 5: must have a content, found an empty one",
        "t.csv: line 6: must have a value in column 'date', found none",
    )
    message = refused(path, text="text", date="date")
    assert f"of 8 items 4 cannot be used: {'; '.join(told)}. data.own.broken" in message
    data = load(path, text="text", date="date", broken="skip")
    assert data.broken == told
    assert data.places == tuple(f"t.csv: line {n}" for n in (2, 7, 8, 9))


def test_lines_that_do_not_fit_the_header_can_be_left_out(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\none,a\ntwo\nthree,b,c\nfour,b\n")
    assert "line 3: must have a value for each column of the header" in refused(path, text="text")
    assert load(path, text="text", broken="skip").items == ("one", "four")


def test_another_separator(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text;label\none;a\ntwo;b\n")
    assert load(path, text="text", separator=";").items == ("one", "two")
    found = load(path, text="text")
    assert found.items == ("one", "two")
    assert found.notes.guessed == (
        "';' as what stands between values; data.own.separator states it",
    )
    assert refused(path, text="text", separator=",").endswith(
        "must be one of the columns text;label, found 'label'; the header reads as one column: did "
        "you mean data.own.separator = ';'?"
    )


def test_a_typo_in_a_column_is_answered_with_what_was_meant(tmp_path):
    message = refused(table(tmp_path), text="text", label="lable")
    assert "t.csv: data.own.label: must be one of the columns text, label, " in message
    assert message.endswith("found 'lable'; did you mean 'label'?")
    assert "data.own.domain: must be" in refused(table(tmp_path), text="text", domain="site")


def test_an_empty_table_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text,label\n")
    assert refused(path, text="text") == f"{path}: must have rows, found none"


def test_pictures_that_a_table_names(tmp_path):
    made = [{"file": f"p/{p.parent.name}/{p.name}", "label": c, "day": "2025-01-01"}
            for c in ("cat", "dog") for p in pictures(tmp_path / "p", c, 2)]  # fmt: skip
    (outside,) = pictures(tmp_path.parent / f"{tmp_path.name}-out", "cat", 1)
    made += [
        {"file": "p/none.png", "label": "cat", "day": "2025-01-01"},
        {"file": str(outside), "label": "cat", "day": "2025-01-01"},
    ]
    path = write_csv(tmp_path / "t.csv", made)
    message = refused(path, image="file")
    assert "line 6: picture must be a file, found nothing at 'p/none.png'" in message
    assert "line 7: picture must lie in the table's folder" in message
    data = load(path, image="file", broken="skip")
    assert (data.modality, data.labels.tolist()) == ("image", [0, 0, 1, 1])


def test_paths_of_windows_are_paths_and_stay_in_the_tables_folder(tmp_path):
    made = [{"file": f"p\\{p.parent.name}\\{p.name}", "label": c, "day": "2025-01-01"}
            for c in ("cat", "dog") for p in pictures(tmp_path / "p", c, 2)]  # fmt: skip
    (outside,) = pictures(tmp_path.parent / f"{tmp_path.name}-win", "cat", 1)
    named = "..\\" + str(outside.relative_to(tmp_path.parent)).replace("/", "\\")
    literal = tmp_path / "p\\cat\\0-0.png"  # a name that systems other than Windows allow
    Image.new("RGB", (9, 9), "red").save(literal)
    path = write_csv(tmp_path / "t.csv", [*made, {"file": named, "label": "cat", "day": "x"}])
    assert "line 6: picture must lie in the table's folder" in refused(path, image="file")
    data = load(path, image="file", broken="skip")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.inputs[0, :, 0, 0].tolist() == [255, 0, 0]  # what bears the very name comes first


def test_a_picture_that_changes_is_read_anew(tmp_path):
    files = [p for c in ("cat", "dog") for p in pictures(tmp_path / "p", c, 2)]
    made = [{"file": f"p/{p.parent.name}/{p.name}", "label": p.parent.name} for p in files]
    path = write_csv(tmp_path / "data" / "t.csv", made)
    (tmp_path / "p").rename(tmp_path / "data" / "p")
    before = load(path, image="file").fingerprint
    Image.new("RGB", (9, 9)).save(tmp_path / "data" / "p" / "cat" / "0-0.png")
    assert load(path, image="file").fingerprint != before


def test_pictures_within_parquet(tmp_path):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    data = file.getvalue()
    made = [{"a": data, "b": {"bytes": data, "path": None}, "label": c} for c in "xy"]
    path = tmp_path / "t.parquet"
    arrow.parquet.write_table(arrow.Table.from_pylist(made), path)
    for column in "ab":
        assert load(path, image=column).inputs[1, :, 0, 0].tolist() == [255, 0, 0]


def test_deep_pictures_of_a_table_have_levels(tmp_path):
    rng = np.random.default_rng(0)
    made = []
    for number in range(8):
        values = rng.integers(-1000, 3001, (12, 12)).astype(np.int32)
        file = io.BytesIO()
        Image.fromarray(values).save(file, "TIFF")
        (tmp_path / f"{number}.tif").write_bytes(file.getvalue())
        made.append({"file": f"{number}.tif", "bytes": file.getvalue(), "label": "xy"[number % 2]})
    path = tmp_path / "t.parquet"
    arrow.parquet.write_table(arrow.Table.from_pylist(made), path)
    named = write_csv(tmp_path / "t.csv", [{k: row[k] for k in ("file", "label")} for row in made])
    found = []
    for where, column in ((path, "bytes"), (path, "file"), (named, "file")):
        message = refused(where, image=column)
        assert "mode I, values from -9" in message and "data.own.levels = [-9" in message
        found.append(load(where, image=column, levels=(-1000, 3000)))
    assert all(np.array_equal(one.inputs, found[0].inputs) for one in found)
    assert len(np.unique(found[0].groups)) == 8 and abs(found[0].inputs.mean() - 127.5) < 6
