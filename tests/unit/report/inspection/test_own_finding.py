"""Inspections of one's own files in a local experiment."""

import shutil

import pytest
import tomli_w
from PIL import Image
from rich.console import Console

from fedbridge.report.inspection import inspect_file, show, write_inspection
from sites import common, pictures, rows, site_file, task, with_config, write_csv


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a config about a folder of pictures; returns a function that changes and writes it."""
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    task(tmp_path / "p", ["cat", "dog", "eel", "fox"], 25)

    def write(scenario=None, data=None, **own):
        tree = {
            "data": {"name": "folder:p", "own": own, **(data or {})},
            "scenario": {"clients": 2, "tasks": 2, "classes_per_task": 2, **(scenario or {})},
            "large": {"model": "patches", "size": 16},
        }
        path = tmp_path / "c.toml"
        path.write_text(tomli_w.dumps(tree))
        return path

    return write


def test_of_many_findings_the_rest_is_counted(config, tmp_path, capsys):
    for number in range(23):
        (tmp_path / "p" / "cat" / f"{number}.txt").write_text("none")
    show(inspect_file(config()), Console())
    told = capsys.readouterr().out
    assert "cannot be used: 23" in told and "  and 3 more" in told


def test_broken_files_are_listed_and_the_rest_is_shown(config, tmp_path):
    (tmp_path / "p" / "cat" / "bad.png").write_bytes(b"none")
    found = inspect_file(config())
    assert found.unusable == (
        "cat/bad.png: cannot be read (ValueError: must be a picture of PNG, JPEG, BMP, GIF, WEBP, "
        "TIFF, PPM)",
    )
    assert (found.stock, len(found.tasks)) == ((25, 25, 25, 25), 4)
    lenient = inspect_file(config(broken="skip"))
    assert (lenient.unusable, lenient.left_out) == ((), found.unusable)


def test_a_setting_can_be_overridden(config, tmp_path):
    (tmp_path / "p" / "cat" / "bad.png").write_bytes(b"none")
    found = inspect_file(config(), overrides=["data.own.broken='skip'", "scenario.tasks=1"])
    assert (found.unusable, len(found.tasks)) == ((), 2)


def test_what_is_there_twice_or_labelled_wrongly_has_its_files_name(config, tmp_path):
    shutil.copy(tmp_path / "p" / "cat" / "0-0.png", tmp_path / "p" / "dog" / "copy.png")
    found = inspect_file(config())
    (cluster,) = found.equal
    assert set(cluster.places) == {"cat/0-0.png", "dog/copy.png"}
    assert [(doubt.place, doubt.looks_like) for doubt in found.doubts] == [("dog/copy.png", "cat")]


def test_a_class_too_small_for_the_scenario_is_shown_beside_the_others(config, tmp_path):
    pictures(tmp_path / "p", "cat", 25)
    shutil.rmtree(tmp_path / "p" / "fox")
    pictures(tmp_path / "p", "fox", 2)
    found = inspect_file(config())
    assert found.tasks == ()
    assert found.stock == (25, 25, 25, 2)
    (reason,) = found.unusable
    assert "class 'fox' of client 'client-1' must have at least one training, one valid" in reason
    assert "leaving out classes of few items (data.own.min_class_items)" in reason
    write_inspection(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Nearly equal items: not compared, because the data cannot be divided as" in page
    left = inspect_file(config({"tasks": 1}, min_class_items=3))
    assert left.left_out == ("class 'fox' has 2 items, fewer than data.own.min_class_items = 3",)


def test_tasks_have_the_names_that_the_data_give_them(config, tmp_path):
    write_csv(tmp_path / "t.csv", rows(200))
    columns = {"text": "text", "date": "date", "domain": "colour"}
    scenario = {"kind": "given", "clients_are": "domains", "tasks": 5}
    path = config(scenario, {"name": f"csv:{tmp_path / 't.csv'}"}, **columns)
    path.write_text(path.read_text().replace("classes_per_task = 2\n", ""))
    found = inspect_file(path)
    assert [(one.client, one.name) for one in found.tasks] == [
        (client, f"2025-{month:02}") for client in ("grey", "red") for month in range(1, 6)
    ]
    used = sum(task.counts.sum() for task in found.tasks)
    assert used + found.public == 200
    assert "patches reads pictures, but the data are texts" in found.skipped


GERMAN = "temp;label;who\n" + "".join(
    f"{30 + n % 7},{n % 10};{('cat', 'dog', 'NA', 'Dog')[n % 4]};p{n}\n" for n in range(80)
)
WORDS = [
    "values that are missing: 1",
    "  column 'label': 20 of 80 ('NA' 20)",
    "  label: 'dog' and 'Dog' differ in case, blanks or last zeros alone",
    'states it, "." says that they are words',
    "  ';' as what stands between values; data",
]


def test_what_a_table_leaves_open_is_shown_in_the_terminal_and_on_the_page(
    config, tmp_path, capsys
):
    (tmp_path / "t.csv").write_text(GERMAN)
    path = config(data={"name": "csv:t.csv"}, features=["temp"], group="who", broken="skip")
    found = inspect_file(path, overrides=["large.head='none'", "small.models=['bag']"])
    assert found.classes == ("Dog", "cat", "dog")
    show(found, Console(width=300))
    told = capsys.readouterr().out
    assert [word for word in WORDS if word not in told] == []
    write_inspection(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h2>Values that are missing: 1</h2>" in page
    assert "20 of 80 (&#39;NA&#39; 20)" in page


def test_what_a_table_of_a_site_leaves_open_is_shown_too(tmp_path, capsys):
    (tmp_path / "t.csv").write_text(GERMAN)
    site_file(tmp_path, kind="csv", path="t.csv", features=["temp"], group="who")
    found = inspect_file(with_config(tmp_path, common("text")))
    show(found, Console(width=300))
    told = capsys.readouterr().out
    assert [word for word in WORDS if word not in told] == []
    assert "t.csv: line 4: must have a label, found none" in found.unusable[0]
    assert any("found 'Dog'; did you mean 'dog'?" in line for line in found.unusable)


def test_blank_pictures_and_a_cluster_of_equals_are_told_once(config, tmp_path, capsys):
    for number in range(6):
        colour = "black" if number % 2 else "white"
        label = ("cat", "dog")[number % 2]
        Image.new("L", (30, 30 + number), colour).save(tmp_path / "p" / label / f"b{number}.png")
    for number in range(7):
        shutil.copy(tmp_path / "p" / "eel" / "0-0.png", tmp_path / "p" / "fox" / f"{number}.png")
    found = inspect_file(config())
    assert set(found.blank) == {f"{('cat', 'dog')[n % 2]}/b{n}.png" for n in range(6)}
    (cluster,) = (one for one in found.equal if "fox/3.png" in one.places)
    assert len(cluster.places) == 8 and "labels" in cluster.remark
    show(found, Console(width=200))
    told = capsys.readouterr().out
    assert "blank pictures: 6" in told
    assert told.count("= ... (8 items, ") == 1


def test_items_on_both_sides_are_told_before_a_run(config, tmp_path):
    for part, seed in (("train", 1), ("test", 2)):
        task(tmp_path / "q" / part, ["cat", "dog", "eel", "fox"], 20, seed=seed)
    shutil.copy(tmp_path / "q" / "test" / "cat" / "2-0.png", tmp_path / "q" / "train" / "cat")
    path = config(data={"name": "folder:q"}, layout="split/class/file")
    found = inspect_file(path)
    line = "train/cat/2-0.png: must not be on both sides: equals test/cat/2-0.png of the test"
    assert found.unusable == (line,) and found.tasks
    path = config(data={"name": "folder:q"}, layout="split/class/file", broken="skip")
    assert inspect_file(path).left_out == (line,)
