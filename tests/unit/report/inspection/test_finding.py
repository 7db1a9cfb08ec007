"""Inspections of real files, on the command line too."""

import shutil
import sys

import pytest
from PIL import Image

from fedbridge.cli import main as cli
from fedbridge.core.errors import UserError
from fedbridge.methods.files import parse_config
from fedbridge.report.inspection import inspect_config, inspect_file
from fedbridge.report.inspection.tables import findings
from sites import common, rows, site_file, task, with_config, write_csv


@pytest.fixture
def look(tmp_path):
    """A site with two tasks of pictures; returns its file."""
    task(tmp_path / "p" / "a", ["cat", "dog"])
    task(tmp_path / "p" / "b", ["eel", "cat"], seed=1)
    site_file(tmp_path, kind="images", path="p", layout="task/class/file")
    return with_config(tmp_path, common())


def called(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fedbridge", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    out, error = capsys.readouterr()
    return int(caught.value.code or 0), out, error


def test_classes_sizes_and_sides_of_every_task(look):
    found = inspect_file(look)
    assert [(one.client, one.name) for one in found.tasks] == [("north", "a"), ("north", "b")]
    assert [one.counts.sum(1).tolist() for one in found.tasks] == [[25, 25, 0, 0], [25, 0, 25, 0]]
    assert (found.unusable, found.equal, found.doubts) == ((), (), ())
    assert found.public == 24


def test_nothing_is_taken(look):
    inspect_file(look)
    assert not (look.parent / "state" / "data").exists()


def test_what_is_wrong_with_the_data_is_found(look):
    folder = look.parent / "p" / "a"
    shutil.copy(folder / "cat" / "0-0.png", folder / "dog" / "copy.png")
    (folder / "cat" / "broken.png").write_bytes(b"no picture")
    task(folder, ["fox"], 1)
    shutil.move(folder / "fox", folder / "ape")
    found = inspect_file(look)
    assert any("broken.png: cannot be read" in line for line in found.unusable)
    assert any("found 'ape'" in line for line in found.unusable)
    (cluster,) = found.equal
    assert set(cluster.places) == {
        str(folder / "cat" / "0-0.png"),
        str(folder / "dog" / "copy.png"),
    }
    assert "labels" in cluster.remark
    assert [doubt.place for doubt in found.doubts] == [str(folder / "dog" / "copy.png")]
    assert (found.doubts[0].label, found.doubts[0].looks_like) == ("dog", "cat")


def test_without_an_fm_the_rest_is_told(tmp_path):
    write_csv(tmp_path / "t.csv", rows(120))
    site_file(tmp_path, kind="csv", path="t.csv", text="text", task="task")
    found = inspect_file(with_config(tmp_path, common("text")))
    assert found.skipped == "the common config has no FM (large.head = 'none')"
    assert len(found.tasks) == 3
    assert found.near == found.doubts == ()
    told = {finding.title: finding.heading for finding in findings(found)}
    for title in ("nearly equal items", "labels worth a look"):
        assert told[title] == f"{title}: not compared, because {found.skipped}"
    assert told["equal items"] == "equal items: none" and "blank pictures" not in told


def test_the_clients_of_an_experiment():
    scenario = {"clients": 2, "tasks": 2, "classes_per_task": 2}
    config = parse_config({"scenario": scenario, "large": {"head": "none"}}, "test")
    found = inspect_config(config)
    assert [(one.client, one.name) for one in found.tasks] == [
        ("client-1", "task 1"),
        ("client-1", "task 2"),
        ("client-2", "task 1"),
        ("client-2", "task 2"),
    ]
    assert found.equal == ()
    only = inspect_config(config, "client-2")
    assert {one.client for one in only.tasks} == {"client-2"}
    assert (only.tasks[0].counts == found.tasks[2].counts).all()
    with pytest.raises(UserError, match="client: must be one of client-1, client-2"):
        inspect_config(config, "client-9")


def test_a_share_of_an_experiment_is_its_clients(tmp_path):
    scenario = {"clients": 2, "tasks": 2, "classes_per_task": 2}
    config = parse_config({"scenario": scenario, "large": {"head": "none"}}, "test")
    path = tmp_path / "site.toml"
    path.write_text('client = "client-2"\n')
    assert {one.client for one in inspect_file(with_config(tmp_path, config)).tasks} == {"client-2"}
    assert path.exists()


def test_a_common_config_alone_tells_where_the_data_are(tmp_path):
    with pytest.raises(UserError, match=r"inspect a site's site.toml"):
        inspect_config(common())


def test_the_command_writes_a_page(look, monkeypatch, capsys, tmp_path):
    folder = look.parent / "p" / "a" / "cat"
    (folder / "0-1.png").rename(folder / "<script>.png")
    shutil.copy(folder / "<script>.png", look.parent / "p" / "b" / "eel" / "copy.png")
    page = tmp_path / "page.html"
    code, out, _ = called(monkeypatch, capsys, "data", "inspect", str(look), "--html", str(page))
    assert code == 0
    assert "tasks of north" in out
    assert "equal items: 1" in out
    text = page.read_text(encoding="utf-8")
    assert "<svg" in text
    assert "<script>" not in text
    assert "&lt;script&gt;.png" in text


def test_the_command_says_when_a_run_could_not_use_the_data(look, monkeypatch, capsys):
    (look.parent / "p" / "a" / "cat" / "broken.png").write_bytes(b"no picture")
    code, out, _ = called(monkeypatch, capsys, "data", "inspect", str(look))
    assert code == 1
    assert "cannot be used: 1" in out


def test_a_mistake_ends_with_one_line(look, monkeypatch, capsys):
    (look.parent / "config.toml").unlink()
    code, _, error = called(monkeypatch, capsys, "data", "inspect", str(look))
    assert code == 2
    assert error.startswith(f"error: {look.parent / 'config.toml'}: cannot read")


def test_what_a_site_leaves_out_and_what_is_blank_is_told(look, monkeypatch, capsys):
    folder = look.parent / "p" / "a" / "cat"
    (folder / "broken.png").write_bytes(b"no picture")
    (look.parent / "p" / "notes.txt").touch()
    Image.new("RGB", (20, 20), "white").save(folder / "blank.png")
    look.write_text(look.read_text() + 'broken = "skip"\n')
    found = inspect_file(look)
    assert found.unusable == () and len(found.left_out) == 2
    assert (
        found.left_out[0] == f"{look.parent / 'p' / 'notes.txt'}: must be a folder, or a file _DONE"
    )
    assert found.blank == (str(folder / "blank.png"),)
    code, out, _ = called(monkeypatch, capsys, "data", "inspect", str(look))
    assert code == 0 and "left out: 2" in out and "blank pictures: 1" in out
