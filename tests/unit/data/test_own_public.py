"""Own files and arrays as the public set: unlabelled, drawn from, never a client's."""

import numpy as np
import pytest
from PIL import Image

from fedbridge.config import Data
from fedbridge.core.errors import UserError
from fedbridge.data import from_arrays, load_data
from fedbridge.data.public import public_set
from fedbridge.data.streams.scenario import Streams, build_scenario
from fedbridge.methods.files import load_config, parse_config
from fedbridge.runs.data_check import note_data
from fedbridge.runs.run import Run
from sites import pictures, write_csv

TEXTS = [f"public sign number {n}" for n in range(30)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))


def drawn(public, **more):
    """Return U beside private texts, or beside private pictures if ``items`` are given."""
    private = more.pop("items", [f"a text, number {n}" for n in range(80)])
    name = from_arrays(private, [n % 2 for n in range(len(private))]).name
    tree = {"name": name, "public": public, "public_items": 12, **more}
    config = parse_config({"data": tree, "scenario": {"clients": 1, "tasks": 1}}, "test")
    dataset = load_data(config.data)
    streams = build_scenario(dataset, config.scenario, config.seed)
    return public_set(config.data, dataset, streams, config.seed)


def refused(public, **more) -> str:
    with pytest.raises(UserError) as caught:
        drawn(public, **more)
    return str(caught.value)


def test_a_folder_of_pictures_needs_no_classes(tmp_path):
    pictures(tmp_path / "p", "cat", 10)
    pictures(tmp_path / "p" / "deep", "dog", 10)
    private = np.random.default_rng(0).integers(0, 256, (60, 40, 40, 3), np.uint8)
    public = drawn(f"folder:{tmp_path / 'p'}", items=private)
    assert len(public.rows) == 12 and public.inputs.shape == (12, 3, 32, 32)
    assert len(public.dataset) == 20 and public.dataset.classes == ("unlabelled",)


def test_a_column_of_texts_needs_no_label(tmp_path):
    path = write_csv(tmp_path / "signs.csv", [{"sign": text} for text in TEXTS])
    public = drawn(f"csv:{path}", public_own={"text": "sign"})
    assert len(set(public.items)) == 12 and set(public.items) <= set(TEXTS)


def test_it_does_not_matter_where_the_file_lies(tmp_path):
    rows = [{"sign": text} for text in TEXTS]
    here, there = (write_csv(tmp_path / at / "signs.csv", rows) for at in ("here", "there"))
    one, other = (drawn(f"csv:{path}", public_own={"text": "sign"}) for path in (here, there))
    assert one.items == other.items


def test_arrays_without_labels(tmp_path):
    public = drawn(from_arrays(TEXTS).name)
    assert len(set(public.items)) == 12 and set(public.items) <= set(TEXTS)


def test_paths_count_from_the_folder_of_the_config(tmp_path):
    (tmp_path / "c.toml").write_text('[data]\npublic = "folder:p"\n', encoding="utf-8")
    assert load_config(tmp_path / "c.toml").data.public == f"folder:{tmp_path / 'p'}"


def test_what_is_a_clients_is_refused(tmp_path):
    path = write_csv(tmp_path / "s.csv", [{"sign": f"a text, number {n}"} for n in range(80)])
    message = refused(f"csv:{path}", public_own={"text": "sign"})
    assert "data.public: must hold no item of a client's, found 1" in message
    assert "of 'csv:s.csv'" in message


def test_what_cannot_be_used_is_named_and_may_be_left_out(tmp_path):
    path = write_csv(tmp_path / "s.csv", [{"sign": text} for text in [*TEXTS, " "]])
    message = refused(f"csv:{path}", public_own={"text": "sign"})
    assert "of 31 items 1 cannot be used: s.csv: line 32: must have a content" in message
    assert "data.public_own.broken = 'skip'" in message
    assert drawn(f"csv:{path}", public_own={"text": "sign", "broken": "skip"})


def test_a_table_without_any_item_is_refused(tmp_path):
    path = write_csv(tmp_path / "s.csv", [{"sign": " "}])
    own = {"text": "sign", "broken": "skip"}
    assert "must have items, found none; 1 cannot be" in refused(f"csv:{path}", public_own=own)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"public": "csv:s.csv"}, "data.public_own must name exactly one of text, features or im"),
        (
            {"public": "folder:p", "public_own": {"text": "a"}},
            "data.public_own.text is only for data.public = csv: or parquet:..., found it with",
        ),
        ({"public_own": {"side": 64}}, "data.public_own.side is only for data.public = folder:"),
        ({"public": "csv:s.csv", "public_own": {"label": "a"}}, "public_own.label: unknown key"),
        (
            {"name": "site", "public": "folder:p", "clients": ["a"], "classes": ["x", "y"],
             "modality": "image", "public_items": 4},
            "since a common config must not name what lies at a site",
        ),
        ({"name": "folder:p", "public": "folder:p"}, "data.public: must be \"same\" for items"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(data, words):
    with pytest.raises(UserError) as caught:
        parse_config({"data": data}, "test")
    assert words in str(caught.value)


def test_a_path_and_a_column_that_are_not_there_are_answered_with_what_is(tmp_path):
    write_csv(tmp_path / "signs.csv", [{"sign": text} for text in TEXTS])
    message = refused(f"csv:{tmp_path / 'sings.csv'}", public_own={"text": "sign"})
    assert message.startswith("data.public: ") and "did you mean" in message
    message = refused(f"csv:{tmp_path / 'signs.csv'}", public_own={"text": "sing"})
    assert "data.public_own.text: must be one of the columns sign, found 'sing'" in message


def test_a_run_whose_public_set_has_changed_is_not_gone_on_with(tmp_path):
    dataset = load_data(Data(name=from_arrays(TEXTS, [n % 2 for n in range(30)]).name))
    run = Run.create(tmp_path / "run", parse_config({"data": {"public": "none"}}, "test"))
    public = np.arange(12, dtype=np.uint16).reshape(3, 4)
    note_data(run, dataset, Streams(np.zeros(0, np.int64), ()), public)
    note_data(run, dataset, Streams(np.zeros(0, np.int64), ()), public.copy())
    with pytest.raises(UserError, match=r"began with another public set .* data have changed"):
        note_data(run, dataset, Streams(np.zeros(0, np.int64), ()), public + 1)


def test_a_run_says_what_was_found_out_of_its_tables(tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text(
        "text;label\n" + "".join(f"note {n};{'ab'[n % 2]}\n" for n in range(9)) + "x;NA\n"
    )
    own = {"text": "text", "broken": "skip"}
    dataset = load_data(Data(name=f"csv:{path}", own=own))
    run = Run.create(tmp_path / "run", parse_config({"data": {"public": "none"}}, "test"))
    with caplog.at_level("INFO"):
        note_data(run, dataset, Streams(np.zeros(0, np.int64), ()), np.zeros((1, 1), np.uint16))
    assert "csv:t.csv: read ';' as what stands between values; data.own.separator" in caplog.text
    assert "csv:t.csv: missing in column 'label': 1 of 10 ('NA' 1)" in caplog.text


def test_deep_public_pictures_have_levels_of_their_own(tmp_path):
    (tmp_path / "p").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        scan = rng.random((9, 9)).astype(np.float32) * 3000
        Image.fromarray(scan).save(tmp_path / "p" / f"{number}.tif")
    private = rng.integers(0, 256, (60, 40, 40, 3), np.uint8)
    assert "data.public_own.levels = [" in refused(f"folder:{tmp_path / 'p'}", items=private)
    levels = {"public_own": {"levels": [0, 3000]}}
    public = drawn(f"folder:{tmp_path / 'p'}", items=private, **levels)
    assert abs(public.inputs.mean() - 127.5) < 6


def test_a_note_of_the_data_that_is_none_is_passed_over(tmp_path):
    dataset = load_data(Data(name=from_arrays(TEXTS, [n % 2 for n in range(30)]).name))
    run = Run.create(tmp_path / "run", parse_config({"data": {"public": "none"}}, "test"))
    run.event("data", name="torn")
    note_data(run, dataset, Streams(np.zeros(0, np.int64), ()), np.zeros((3, 4), np.uint16))
    assert [event.get("items") for event in run.events()] == [None, 30]
