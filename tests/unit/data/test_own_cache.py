"""Own data in the cache: prepared once, anew when files change, and never by half."""

import os
import resource
import subprocess
import sys

import pytest
from PIL import Image

from fedbridge.cli import main as cli
from fedbridge.config import Own
from fedbridge.data import load_dataset
from fedbridge.data.own import parts
from sites import rows, task, write_csv


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDBRIDGE_CACHE", str(tmp_path / "cache"))
    return task(tmp_path / "pictures", ["cat", "dog"], 20)


def load(folder, **own):
    return load_dataset(f"folder:{folder}", own=Own(**own))


def prepared(folder, kind="folder") -> list[str]:
    """Return everything that lies where prepared data belong, hidden or not."""
    root = folder.parent / "cache" / "data-v1" / "own" / kind
    return sorted(os.listdir(root)) if root.is_dir() else []


def test_what_is_unchanged_is_prepared_once(folder):
    first = load(folder)
    (kept,) = prepared(folder)
    assert load(folder, broken="skip").fingerprint == first.fingerprint
    assert prepared(folder) == [kept]


def test_what_changes_is_prepared_anew(folder):
    first = load(folder)
    Image.new("RGB", (9, 9)).save(folder / "cat" / "0-0.png")
    second = load(folder)
    (folder / "cat" / "0-0.png").unlink()
    third = load(folder)
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 3
    assert (len(first), len(third)) == (40, 39)


def test_the_same_content_is_the_same_wherever_and_whenever(folder):
    first = load(folder)
    os.utime(folder / "cat" / "0-0.png", (0, 0))
    assert load(folder).fingerprint == first.fingerprint
    folder.rename(folder.parent / "renamed")
    other = task(folder.parent / "elsewhere" / "pictures", ["cat", "dog"], 20)
    assert load(other).fingerprint == first.fingerprint


def test_another_period_needs_no_preparation(folder):
    path = write_csv(folder.parent / "t.csv", rows(60))
    for period in ("month", "day", 3):
        own = Own(text="text", date="date", period=period)
        load_dataset(f"csv:{path}", own=own)
    assert len(prepared(folder, "csv")) == 1


def test_an_interrupted_preparation_leaves_nothing(folder, monkeypatch, capsys):
    config = folder.parent / "c.toml"
    config.write_text('[data]\nname = "folder:pictures"\n')
    real, calls = parts.content_of, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 15:
            assert prepared(folder)  # it is in the midst of it
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(parts, "content_of", interrupted)
    monkeypatch.setattr(sys, "argv", ["fedbridge", "data", "inspect", str(config)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130
    assert "stopped; nothing half-read was kept" in capsys.readouterr().err
    assert prepared(folder) == []
    assert len(load(folder)) == 40


def test_a_full_disk_is_told_and_leaves_nothing(folder):
    """A limit on the size of files stands for a full disk: a write fails midway."""
    # each picture takes 27,648 bytes for the FM, so the file for all 40 does not fit
    script = (
        "import resource\n"
        "from fedbridge.data import load_dataset\n"
        "from fedbridge.core.errors import UserError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, {resource.RLIM_INFINITY}))\n"
        "try:\n"
        f"    load_dataset({f'folder:{folder}'!r})\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert "cannot store here: [Errno 27] File too large" in done.stdout
    assert "set FEDBRIDGE_CACHE to another folder and run again" in done.stdout
    assert prepared(folder) == []
    assert len(load(folder)) == 40


def test_what_systems_leave_in_folders_changes_nothing(folder):
    load(folder)
    (kept,) = prepared(folder)
    (folder / "cat" / "Thumbs.db").touch()
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._cat").touch()
    load(folder)
    assert prepared(folder) == [kept]


def test_pictures_read_by_other_rules_are_read_anew(folder, monkeypatch):
    load(folder)
    monkeypatch.setattr("fedbridge.data.own.PIXELS", 0)
    load(folder)
    assert len(prepared(folder)) == 2
