"""CSV files as others write them: separators, encodings, numbers, quotes, lines and headers."""

import csv
import io
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbridge.config import Own
from fedbridge.core.errors import UserError
from fedbridge.data import load_dataset
from fedbridge.data.own.samples import in_csv
from fedbridge.data.readers.csv_files import csv_records, csv_tables
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.site import partitions_of
from sites import site

GERMAN = "temp;steps;shift\n36,30;12.345;früh\n37,5;9.000;spät\n"


def file(tmp_path, content, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **own):
    """Return the samples of own data, and what was noticed."""
    notice = Notice()
    return list(in_csv(path, Own(**own), notice)), notice.notes()


def refused(path, **own) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **own)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_german_spreadsheet_is_what_an_english_one_is(tmp_path, encoding):
    path = file(tmp_path, GERMAN.encode(encoding))
    samples, notes = read(path, label="shift", features=["temp", "steps"])
    assert [one.row.content.values for one in samples] == [
        (("temp", 36.3), ("steps", 12345.0)),
        (("temp", 37.5), ("steps", 9000.0)),
    ]
    assert [one.row.label for one in samples] == ["früh", "spät"]
    told = [line for line in notes.guessed if "cp1252" in line]
    assert bool(told) == (encoding == "cp1252")
    assert all("('früh')" in line and "data.own.encoding states it" in line for line in told)
    assert "';' as what stands between values; data.own.separator states it" in notes.guessed


def test_what_is_stated_is_not_guessed_nor_said(tmp_path):
    path = file(tmp_path, GERMAN.encode("cp1252"))
    stated = {"separator": ";", "decimal": ",", "thousands": ".", "encoding": "cp1252"}
    samples, notes = read(path, label="shift", features=["temp", "steps"], **stated)
    assert samples[0].row.content.values == (("temp", 36.3), ("steps", 12345.0))
    assert notes.guessed == notes.odd == ()
    samples, notes = read(path, label="shift", features=["temp"], decimal=".")
    assert samples[0].row.content.values == (("temp", "36,30"),)
    assert "numbers such as 36,30 have a decimal comma and are read as words" in notes.odd[0]


def test_a_column_that_is_not_read_tells_how_the_others_are_written(tmp_path):
    path = file(tmp_path, GERMAN)
    samples, _ = read(path, label="shift", features=["steps"])
    assert samples[0].row.content.values == (("steps", 12345.0),)


def test_all_files_of_a_folder_are_written_alike(tmp_path):
    (tmp_path / "all").mkdir()
    file(tmp_path / "all", "steps;shift\n12.345;a\n", "1.csv")
    file(tmp_path / "all", "steps;shift\n1,5;a\n", "2.csv")
    samples, _ = read(tmp_path / "all", label="shift", features=["steps"])
    assert [one.row.content.values[0][1] for one in samples] == [12345.0, 1.5]


def test_whole_numbers_with_a_decimal_comma_are_the_same_words(tmp_path):
    path = file(tmp_path, "text;label\na;3,0\nb;3\nc;4,0\n")
    samples, _ = read(path, text="text", decimal=",")
    assert [one.row.label for one in samples] == ["3", "3", "4"]


def test_fractions_with_a_decimal_comma_are_the_same_words_too(tmp_path):
    path = file(tmp_path, "text;label\na;0,5\nb;1,5\nc;x\n")
    samples, notes = read(path, text="text")
    assert [one.row.label for one in samples] == ["0.5", "1.5", "x"]
    assert "numbers as with a decimal comma (0,5); data.own.decimal" in notes.guessed[1]
    rows = "".join(f"{n};{n},{n % 10}\n" for n in range(1, 30))
    path = file(tmp_path, "text;label\n" + rows)
    with pytest.raises(UserError, match="labels must be names or whole numbers, found 27 diff"):
        load_dataset(f"csv:{path}", cache=tmp_path / "cache", own=Own(text="text"))


def test_one_word_among_numbers_leaves_the_others_numbers(tmp_path):
    path = file(tmp_path, 'age,label\n"9007199254740993",a\n,b\nunknown,b\n007,a\n')
    samples, notes = read(path, features=["age"])
    assert [one.row.content.values for one in samples] == [
        (("age", 9007199254740993),),
        (),
        (("age", "unknown"),),
        (("age", 7.0),),
    ]
    assert notes.missing == ("column 'age': 1 of 4",)


def test_codes_with_leading_zeros_stay_words(tmp_path):
    path = file(tmp_path, "text,label,place\na,007,01067\nb,7,1067\n")
    samples, _ = read(path, text="text", domain="place", group="label")
    assert [(one.row.label, one.domain, one.row.group) for one in samples] == [
        ("007", "01067", "007"),
        ("7", "1067", "7"),
    ]


def test_missing_words_are_counted_by_column_and_can_be_set(tmp_path):
    path = file(tmp_path, "text,label,age\na,NA,5\nb,x,NaN\nc,NA, \nd,y,null\n")
    samples, notes = read(path, features=["age"])
    assert [one.row.label for one in samples] == [None, "x", None, "y"]
    assert notes.missing == (
        "column 'label': 2 of 4 ('NA' 2)",
        "column 'age': 3 of 4 ('NaN' 1, 'null' 1)",
    )
    samples, notes = read(path, features=["age"], missing=["null", "x"])
    assert [one.row.label for one in samples] == ["NA", None, "NA", "y"]
    assert samples[1].row.content.values == (("age", "NaN"),)


def test_a_column_of_words_that_all_differ_is_named(tmp_path):
    rows = "".join(f"{n}kg,{'ab'[n % 2]}\n" for n in range(30))
    _, notes = read(file(tmp_path, "weight,label\n" + rows), features=["weight"])
    assert notes.odd[0].startswith(
        "column 'weight' of features holds words that nearly all differ ('0kg', '1kg', '2kg', ...)"
    )
    rows = "".join(f"{('red', 'grey')[n % 3 % 2]},{'ab'[n % 2]}\n" for n in range(60))
    assert read(file(tmp_path, "weight,label\n" + rows), features=["weight"])[1].odd == ()


def test_words_that_look_alike_are_named(tmp_path):
    path = file(tmp_path, "text,label,p\na,Cat,P1\nb,cat,p1\nc,dog,p 1\n")
    _, notes = read(path, text="text", group="p")
    assert notes.odd == (
        "label: 'Cat' and 'cat' differ in case, blanks or last zeros alone",
        "p: 'P1' and 'p1' and 'p 1' differ in case, blanks or last zeros alone",
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            "text,label,x,label",
            "data.own.label: the column 'label' must stand once in the table, f",
        ),
        (
            "text,text,label,y",
            "data.own.text: the column 'text' must stand once in the table, foun",
        ),
    ],
)
def test_a_header_that_stands_twice_is_refused(tmp_path, header, expected):
    assert expected in refused(file(tmp_path, f"{header}\na,b,c,d\n"), text="text")


def test_columns_that_nobody_reads_may_have_one_name(tmp_path):
    samples, _ = read(file(tmp_path, "text,label,,\na,b,,\n"), text="text")
    assert samples[0].row.label == "b"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_forgotten_separator_is_found_and_a_wrong_one_corrected(tmp_path, separator):
    path = file(tmp_path, "text,label\na,b\n".replace(",", separator))
    assert read(path, text="text")[0][0].row.label == "b"
    assert refused(path, text="text", separator=",").endswith(
        f"the header reads as one column: did you mean data.own.separator = {separator!r}?"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "must have a header, found an empty file"),
        (b"\n \n", "must have a header, found an empty file"),
        (b"PK\x03\x04 and more", "found an Excel workbook or another zip file; save it as CSV in"),
        (b"\x1f\x8b\x08", "found a compressed file; unpack it"),
        (b"text,label\na\x00b,c\n", "must be text, found NUL bytes; if it is UTF-16, state data.o"),
        ("text,label\na,b\n".encode("utf-16-le"), "found NUL bytes; if it is UTF-16, state data.o"),
        (b'text,label\n"a,b\nc,d\n', "line 2: must be CSV: unexpected end of data"),
        (b'text,label\na,b\n"c"d,e\n', "line 3: must be CSV: ',' expected after '\"'"),
        (
            b"text,label\n\x81,b\n",
            "found neither that nor cp1252 (the byte 0x81); state data.own.e",
        ),
    ],
)
def test_what_is_no_csv_is_refused_in_words(tmp_path, content, expected):
    assert expected in refused(file(tmp_path, content), text="text")


def test_an_encoding_that_is_stated_wrongly_is_told(tmp_path):
    path = file(tmp_path, GERMAN.encode("cp1252"))
    message = refused(path, label="shift", features=["temp"], encoding="utf-8")
    assert f"{path}: must be in one encoding throughout: 'utf-8' codec" in message


def test_the_hint_that_excel_writes_for_itself_is_no_header(tmp_path):
    samples, notes = read(file(tmp_path, "sep=;\ntext;label\na;b\n"), text="text")
    assert [(one.row.place, one.row.content) for one in samples] == [("t.csv: line 3", "a")]
    assert notes.guessed[0].startswith("';' as what stands")


@pytest.mark.parametrize("ending", [".xlsx", ".xls", ".ods"])
def test_a_spreadsheet_is_refused_with_what_to_do(tmp_path, ending):
    path = file(tmp_path, b"PK\x03\x04", f"t{ending}")
    assert refused(path, text="text").endswith(
        "; a spreadsheet is read once it is saved as CSV in UTF-8, or as Parquet"
    )


def test_every_record_is_named_by_the_line_on_which_it_begins(tmp_path):
    text = 'text,label\n"two\nlines",a\n\nshort\nc,b\nlong,b,c\n"e, f",a\n'
    samples, _ = read(file(tmp_path, text), text="text")
    assert [one.place if hasattr(one, "place") else one.row.place for one in samples] == [
        f"t.csv: line {number}" for number in (2, 5, 6, 7, 8)
    ]
    assert [one.row.content for one in samples if hasattr(one, "row")] == [
        "two\nlines",
        "c",
        "e, f",
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text('a,"\n\r ;é0\t', max_size=12), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_pandas_and_csv_agree_on_what_a_record_is(tmp_path_factory, lines, end):
    text = "text,label" + end + end.join(lines)
    path = file(tmp_path_factory.getbasetemp(), text, "any.csv")
    try:
        _, (layout,) = csv_tables([path], Own(text="text", separator=","), Notice())
    except UserError:
        return  # of stray quotes
    rows = csv.reader(io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n")), strict=True)
    wanted = [row for row in rows if len(row) > 1 or (row and row[0].strip())][1:]
    found = [values and [values["text"], values["label"]] for _, values in csv_records(layout)]
    assert found == [row if len(row) == 2 else None for row in wanted]


def test_a_site_says_in_its_log_what_it_guessed(tmp_path, caplog):
    from fedbridge.data.readers.preparing import InputSpec
    from fedbridge.data.site.holding import Holding
    from sites import common

    rows = "".join(f"{30 + n % 9},{n % 10};{('cat', 'dog')[n % 2]}\n" for n in range(60))
    file(tmp_path, "temp;label\n" + rows)
    own = site(tmp_path, kind="csv", path="t.csv", features=["temp"])
    (found,) = partitions_of(own)
    assert next(iter(found.rows())).content.values == (("temp", 30.0),)
    with caplog.at_level(logging.INFO):
        assert Holding(own, InputSpec.of(common("text"))).take()
    assert "north: read ';' as what stands between values; data.separator states it" in caplog.text
    assert "north: read numbers as with a decimal comma (30,0)" in caplog.text


def test_a_public_set_is_read_by_the_same_rules(tmp_path):
    from fedbridge.config import Data, PublicOwn

    path = file(tmp_path, "temp;other\n36,5;x\n37,5;NA\n")
    public = PublicOwn(features=["temp", "other"]).as_read()
    data = load_dataset(f"csv:{path}", cache=tmp_path / "cache", own=public)
    assert data.items == ("temp: 36.5, other: x", "temp: 37.5")
    assert "data.public_own.decimal" in data.notes.guessed[1]
    settings_ = {"public": f"csv:{path}", "public_own": {"features": ["temp"], "decimal": ","}}
    assert Data(**settings_).public_own.decimal == ","
