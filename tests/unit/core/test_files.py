"""What files are called, and what is said of files that are not as they must be."""

import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbridge.config.files import read_toml
from fedbridge.core.errors import UserError
from fedbridge.core.files import DEEPEST, DEVICES, OURS, file_name, read_json
from fedbridge.methods.files import load_config
from fedbridge.runs.run import read_accuracy

AWKWARD = [
    "",
    ".",
    "..",
    "a/b",
    "a\\b",
    "CON",
    "nul.txt",
    "com1",
    "lpt9",
    "conin",
    "prn.csv",
    "a.",
    "a ",
    "~",
    "server",
    "\x00",
]
SAFE = re.compile(r"[a-z0-9][a-z0-9._~-]{0,99}")


@pytest.mark.parametrize("name", ["client-1", "site_2", "berlin.north", "7", "x" * 100])
def test_plain_names_are_kept(name):
    assert file_name(name) == name


@pytest.mark.parametrize("name", [*AWKWARD, "x" * 300, "Ä" * 60, "\ud800", "Berlin", "a\nb"])
def test_no_name_is_a_path_reserved_or_too_long(name):
    made = file_name(name)
    assert SAFE.fullmatch(made) and made[-1] not in ". "
    assert made.partition(".")[0] not in DEVICES | OURS
    assert "~" in made


def test_what_can_be_read_of_a_name_is_kept():
    assert file_name("St. Mary's / North").startswith("st-mary-s-north~")
    assert file_name("Süd & Ost").startswith("sud-ost~")
    assert file_name("北").startswith("name~")


@given(st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=8)), unique=True))
def test_no_two_names_have_the_same_even_where_case_and_spelling_do_not_count(names):
    made = [unicodedata.normalize("NFC", file_name(name)).casefold() for name in names]
    assert len(set(made)) == len(names)
    assert made == [file_name(name) for name in names]


def test_names_that_differ_by_case_or_spelling_alone_are_two():
    assert len({file_name(name) for name in ("north", "North", "NORTH", "é", "e\u0301")}) == 5


DAMAGES = {
    "cut short": (b'{"a": 1', "is damaged: Invalid JSON"),
    "no object": (b"[1]", "must be an object, found list"),
    "no text": (b"\xff\xfe", "must be UTF-8"),
    "brackets": (b'{"a": ' + b"[" * 100_000, "at most 64 levels deep"),
    "tables": (b'{"a": ' * 70 + b"1" + b"}" * 70, "at most 64 levels deep"),
    "digits": (b'{"a": ' + b"1" * 5000 + b"}", "is damaged: Invalid JSON"),
    "nothing": (b"", "is damaged: Invalid JSON"),
}


@pytest.mark.parametrize(("content", "rule"), DAMAGES.values(), ids=DAMAGES)
def test_json_that_cannot_be_read_is_named_with_its_rule(content, rule, tmp_path):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"f\.json: .*{rule}"):
        read_json(tmp_path / "f.json", "thing")


def test_a_missing_a_large_and_a_marked_file(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"f\.json: cannot read this thing: No such file"):
        read_json(tmp_path / "f.json", "thing")
    (tmp_path / "f.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": [1]}).encode())
    assert read_json(tmp_path / "f.json", "thing") == {"a": [1]}
    monkeypatch.setattr("fedbridge.core.files.read_words.__defaults__", (13,))
    assert read_json(tmp_path / "f.json", "thing") == {"a": [1]}
    monkeypatch.setattr("fedbridge.core.files.read_words.__defaults__", (4,))
    with pytest.raises(UserError, match=r"must have at most 4 bytes, found 13"):
        read_json(tmp_path / "f.json", "thing")


def test_as_deep_as_may_be_is_read(tmp_path):
    text = "[" * DEEPEST + "]" * DEEPEST
    (tmp_path / "f.json").write_text(f'{{"a": {text}}}')
    assert read_json(tmp_path / "f.json", "thing") == {"a": json.loads(text)}


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000 + "]" * 5000,
        "a = " + "[" * 80 + "]" * 80,
        ".".join("a" * 3000) + " = 1",
        "[" + ".".join("a" * 3000) + "]",
        "a = " + "{a = " * 80 + "1" + "}" * 80,
    ],
)
def test_settings_that_are_too_deep_are_refused(text, tmp_path):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UserError, match=r"c\.toml: must be at most 64 levels deep"):
        read_toml(tmp_path / "c.toml", "config")


@pytest.mark.parametrize("text", ["seed=" + "[" * 5000, ".".join("a" * 3000) + "=1"])
def test_overrides_that_are_too_deep_are_refused(text, tmp_path):
    (tmp_path / "c.toml").write_text("")
    with pytest.raises(UserError, match=r"--set .*: must be at most 64 levels deep"):
        load_config(tmp_path / "c.toml", [text])


def test_numbers_of_thousands_of_digits_and_large_files_are_refused(tmp_path):
    (tmp_path / "c.toml").write_text("seed = " + "1" * 5000)
    with pytest.raises(UserError, match=r"c\.toml: not valid TOML"):
        read_toml(tmp_path / "c.toml", "config")
    (tmp_path / "c.toml").write_text("#" * (4 * 2**20 + 1))
    with pytest.raises(UserError, match=r"c\.toml: must have at most 4,194,304 bytes"):
        read_toml(tmp_path / "c.toml", "config")


def test_of_many_faults_and_long_values_the_beginning_is_told(tmp_path):
    lines = [f'k{number} = "{"x" * 5000}"' for number in range(500)]
    (tmp_path / "c.toml").write_text("\n".join([f'seed = "{"y" * 5000}"', *lines]))
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "c.toml")
    message = str(caught.value)
    assert "seed: " in message and message.endswith("; and 481 more")
    assert len(message) < 10_000


@pytest.mark.parametrize("fault", [b"\xff\xfe", b'"' + b"x" * 200_000])
def test_an_accuracy_table_that_is_no_table_is_told(tmp_path, fault):
    (tmp_path / "accuracy.csv").write_bytes(fault)
    with pytest.raises(UserError, match=r"accuracy\.csv: this table is damaged"):
        read_accuracy(tmp_path)
