"""Settings about own files: what goes together, where paths count from, what a typo is answered."""

import tomllib
from pathlib import Path

import pytest

from fedbridge.config import Own
from fedbridge.core.errors import UserError
from fedbridge.methods.files import dump_config, load_config, parse_config


def config_file(folder: Path, text: str, name: str = "c.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(config_file(tmp_path, text))
    return str(caught.value)


def own(name: str, **settings) -> dict:
    return {"data": {"name": name, "own": settings}}


def test_a_path_counts_from_the_config_that_names_it(tmp_path, monkeypatch):
    config_file(tmp_path / "base", '[data]\nname = "folder:../pictures"', "b.toml")
    path = config_file(tmp_path / "own", 'extends = "../base/b.toml"\nseed = 1')
    monkeypatch.chdir("/")
    config = load_config(path)
    where = Path(config.data.name.removeprefix("folder:"))
    assert where.resolve() == tmp_path / "pictures"
    assert config.data.title == "folder:pictures"


def test_a_path_on_the_command_line_counts_from_where_one_is(tmp_path, monkeypatch):
    path = config_file(tmp_path / "configs", "seed = 1")
    monkeypatch.chdir(tmp_path)
    config = load_config(path, ["data.name=folder:mine"])
    assert config.data.name == f"folder:{tmp_path / 'mine'}"


def test_a_written_config_means_the_same_anywhere(tmp_path, monkeypatch):
    config = load_config(config_file(tmp_path, '[data]\nname = "folder:p"'))
    monkeypatch.chdir("/")
    assert parse_config(tomllib.loads(dump_config(config)), "again") == config


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (own("csv:t.csv"), "data.own must name exactly one of text, features or image"),
        (own("csv:t.csv", text="a", features=["b"]), "must name exactly one of"),
        (own("csv:t.csv", text="a", task="b", date="c"), "must name task or date, not both"),
        (own("csv:t.csv", text="a", period=3), "data.own.period needs data.own.date, found 3"),
        (
            own("folder:p", text="a"),
            "data.own.text is only for data.name = csv: or parquet:..., found it with 'folder:",
        ),
        (
            own("parquet:t.parquet", text="a", separator=";"),
            "separator is only for data.name = csv",
        ),
        (own("digits", broken="skip"), "data.own.broken is only for"),
        (own("csv:t.csv", text="a", levels=[0, 9]), "data.own.levels is only for pictures, found"),
        (own("folder:p", levels=[9, 0]), "data.own.levels: must be the value that is black and a"),
        (own("hf:a/b", levels=[0, 9]), "data.own.levels is only for data.name = folder: or"),
        (
            own("parquet:t.parquet", text="a", encoding="cp1252"),
            "data.own.encoding is only for data.name = csv:...",
        ),
        (own("folder:p", decimal=","), "data.own.decimal is only for data.name = csv: or parquet:"),
        (own("csv:t.csv", text="a", decimal=";"), "data.own.decimal: Input should be '.' or ','"),
        (
            own("csv:t.csv", text="a", decimal=",", thousands=","),
            "decimal and thousands must differ, found ',' as both",
        ),
        (own("csv:t.csv", text="a", encoding="hex"), "must be an encoding such as utf-8, utf-16"),
        (
            own("csv:t.csv", text="a", date="b"),
            "scenario.kind: must be 'given' where data.own.date says which task an item is of",
        ),
        (
            own("folder:p", layout="task/class/file"),
            "scenario.kind: must be 'given' where data.own.layout says",
        ),
        (
            own("folder:p") | {"scenario": {"kind": "given", "blur": 0.1}},
            "scenario.blur must be left out with scenario.kind = 'given'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tree, expected):
    with pytest.raises(UserError) as caught:
        parse_config(tree, "test")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[data]\nname = "folder:p"\n[data.own]\nbrokn = "skip"',
            "data.own.brokn: unknown key (did you mean 'broken'?)",
        ),
        (
            '[data]\nname = "csv:t.csv"\ndate = "day"',
            "data.date: unknown key (did you mean 'own.date'?)",
        ),
        (
            '[data]\nname = "foldr:p"\n[data.own]\nside = 32',
            "c.toml: data.own.side is only for data.name = folder: or csv: or parquet:..., found "
            "it with 'foldr:p'; did you mean 'folder:'?",
        ),
        ("rounds = 3", "rounds: unknown key (did you mean 'training.rounds'?)"),
        (
            '[data]\nname = "folder:p"\n[data.own]\nlayout = "file"',
            "data.own.layout: Input should be 'class/file', 'domain/class/file'",
        ),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(tmp_path, text, expected):
    assert expected in refused(tmp_path, text)


def test_what_older_releases_wrote_out_is_still_read():
    assert parse_config(own("digits", separator=","), "c.toml").data.own.separator == ","


def test_another_file_is_read_by_the_same_settings_and_other_data_are_not(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[data]\nname = "csv:t.csv"\n[data.own]\ntext = "a"\nbroken = "skip"\n', encoding="utf-8"
    )
    for name in ("csv:other.csv", "parquet:t.parquet"):
        config = load_config(tmp_path / "c.toml", [f"data.name={name}"])
        assert (config.data.own.text, config.data.own.broken) == ("a", "skip")
    assert load_config(tmp_path / "c.toml", ["data.name=emoji"]).data.own == Own()
