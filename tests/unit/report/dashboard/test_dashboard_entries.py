import os
import threading

import pytest
from filelock import lock_descriptor, unlock_descriptor

from fedbridge.core.errors import UserError
from fedbridge.report.dashboard.catalogue import FRESH, Catalogue
from fedbridge.report.dashboard.discovery import find_runs, name_of
from fedbridge.report.dashboard.entry import read_entry
from fedbridge.runs.run import Run, exclusive_lock
from growing_runs import advance, finish, write_run


def read(folder, before=None):
    return read_entry(folder, folder.name, before)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


# -- where runs are found


def test_runs_are_found_in_and_below_folders(tmp_path):
    for place in ("one", "suite/runs/two", "a/b/c/three"):
        write_run(tmp_path / place)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/config.toml").write_text("seed = 1")  # settings alone are no run
    write_run(tmp_path / ".hidden/four")
    write_run(tmp_path / "a/b/c/d/too-deep")
    found = find_runs([tmp_path, tmp_path / "one"])
    assert {folder.name for folder in found.values()} == {"one", "two", "three"}
    assert all(find_runs([folder]) == {name: folder} for name, folder in found.items())


def test_links_to_folders_are_not_followed(tmp_path):
    write_run(tmp_path / "secret/run")
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/link").symlink_to(tmp_path / "secret", target_is_directory=True)
    (tmp_path / "shown/round").symlink_to(tmp_path / "shown", target_is_directory=True)
    assert find_runs([tmp_path / "shown"]) == {}


def test_what_is_no_folder_any_more_is_passed_over(tmp_path):
    assert find_runs([tmp_path / "gone"]) == {}


# -- in what state they are


def test_a_finished_run(tmp_path):
    entry = read(write_run(tmp_path / "run").folder)
    assert (entry.state, entry.done, entry.total) == ("finished", 2, 2)
    assert entry.accuracy == {"small": 0.6, "large": 0.7, "together": 0.8}
    assert entry.forgetting == pytest.approx(0.1)
    assert (entry.traffic, entry.seconds, entry.left) == ((4096, 2048), 100.0, None)


def test_running_stopped_failed_and_gone_on_with(tmp_path):
    run = write_run(tmp_path / "run", done=1, tasks=4)
    assert read(run.folder).state == "stopped"
    with exclusive_lock(run.folder):
        entry = read(run.folder)
        assert entry.state == "running" and entry.left is None
    with pytest.raises(ZeroDivisionError), exclusive_lock(run.folder), run.noting_failure():
        raise ZeroDivisionError("one by zero")
    entry = read(run.folder)
    assert entry.state == "failed"
    assert entry.events[-1]["message"] == "ZeroDivisionError: one by zero"
    with exclusive_lock(run.folder):
        assert read(run.folder).state == "running"
        advance(run, 2, 4)
    assert read(run.folder).state == "stopped"


def test_a_users_mistake_is_noted_in_its_own_words(tmp_path):
    run = write_run(tmp_path / "run", done=1)
    with pytest.raises(UserError), run.noting_failure():
        raise UserError("disk full")
    assert run.events()[-1]["message"] == "disk full"


def test_a_stop_is_no_failure(tmp_path):
    run = write_run(tmp_path / "run", done=1)
    with pytest.raises(KeyboardInterrupt), run.noting_failure():
        raise KeyboardInterrupt
    assert [event["kind"] for event in run.events()] == ["round"]


def test_accuracy_so_far_and_time_left(tmp_path):
    run = write_run(tmp_path / "run", done=2, tasks=4)
    events = "".join(
        f'{{"time": {time}, "kind": "round", "task": {task}, "round": 1, "seconds": 1.0, '
        f'"bytes_up": 1, "bytes_down": 2}}\n'
        for task, time in ((1, 50.0), (2, 60.0))
    )
    (run.folder / "events.jsonl").write_text(events)
    with exclusive_lock(run.folder):
        entry = read(run.folder)
    assert entry.accuracy["small"] == pytest.approx(0.8)  # 6 of 10 at the end, 1 more each before
    assert entry.left == 20.0  # two tasks of ten seconds; preparing is no measure
    assert entry.seconds == 60.0
    assert entry.forgetting == pytest.approx(0.1)  # the first task went from 9 to 8
    assert entry.reached == "after task 2 of 4, being carried out, at step 2 of 4"


def test_looking_does_not_keep_a_run_from_beginning(tmp_path):
    folder = write_run(tmp_path / "run", done=1).folder
    (folder / ".lock").touch()
    with (folder / ".lock").open("rb") as file:
        assert lock_descriptor(file.fileno(), blocking=False)  # as a look does, for a moment
        free = threading.Timer(0.01, unlock_descriptor, (file.fileno(),))
        free.start()
        with exclusive_lock(folder):
            pass
        free.join()


def test_two_at_work_are_still_refused(tmp_path):
    folder = write_run(tmp_path / "run", done=1).folder
    with (
        exclusive_lock(folder),
        pytest.raises(UserError, match="another process is carrying out"),
        exclusive_lock(folder),
    ):
        raise AssertionError("two are at work")


# -- what is broken


BROKEN = {
    "config.toml": [b"seed = ", b"\xff\xfe", b"sneed = 1", b"[" * 100_000],
    "environment.json": [b"{", b"[]", b"\xff"],
    "accuracy.csv": [b"", b"a,b\n", b"client,after_task\n\x00", b"\xff"],
    "summary.json": [b"{", b"{}", b'{"method": 1}', b"[" * 100_000],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, text) for name, all_ in BROKEN.items() for text in all_]
)
def test_a_broken_file_is_said_and_hides_nothing_else(name, content, tmp_path):
    write_run(tmp_path / "good")
    folder = write_run(tmp_path / "bad").folder
    (folder / name).write_bytes(content)
    catalogue = Catalogue([tmp_path])
    states = {entry.label: entry.state for entry in catalogue.entries().values()}
    assert states == {"good": "finished", "bad": "broken"}
    assert read(folder).problem


@pytest.mark.parametrize(
    "line",
    [b"{", b"[1]", b'{"kind": "round"}', b'{"time": 1, "kind": "round"}', b"\0\0", b"[" * 9999],
)
def test_lines_that_are_no_events_hide_nothing(line, tmp_path):
    folder = write_run(tmp_path / "run", done=1).folder
    with (folder / "events.jsonl").open("ab") as file:
        file.write(line + b"\n")
    entry = read(folder)
    assert (entry.state, entry.done) == ("stopped", 1)
    (alarm,) = entry.run.events.alarms
    assert alarm.message.startswith("events.jsonl: 1 line is no event")


def test_a_last_line_that_is_not_whole_yet_is_left_out(tmp_path):
    run = write_run(tmp_path / "run", done=1)
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"time": 3, "kind": "rou')
    entry = read(run.folder)
    assert (entry.state, entry.done) == ("stopped", 1)


def test_a_run_just_begun_has_neither_table_nor_events(tmp_path):
    entry = read(write_run(tmp_path / "run", done=0).folder)
    assert (entry.state, entry.done, entry.total) == ("stopped", 0, 2)
    assert set(entry.accuracy.values()) == {None} and entry.seconds is None


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)]
)
def test_what_is_no_file_is_not_opened(make, tmp_path):
    folder = write_run(tmp_path / "run", done=1).folder
    (folder / "accuracy.csv").unlink()
    make(folder / "accuracy.csv")  # a pipe would keep whoever opens it
    entry = read(folder)
    assert entry.state == "broken" and "must be a file" in entry.problem


def test_a_huge_file_is_not_read(tmp_path):
    folder = write_run(tmp_path / "run", done=1).folder
    os.truncate(folder / "events.jsonl", 2**40)  # takes no room
    entry = read(folder)
    assert entry.state == "broken" and "at most 64 MiB" in entry.problem


# -- what is read again, and when


def test_only_what_has_changed_is_read_again(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", done=1)
    before = read(run.folder)
    assert read(run.folder, before) is before
    advance(run, 2, 2)
    finish(run)
    after = read(run.folder, before)
    assert (after.state, after.done) == ("finished", 2)


def test_runs_appear_and_vanish_at_the_next_look(tmp_path):
    clock = Clock()
    catalogue = Catalogue([tmp_path], clock)
    assert catalogue.entries() == {}
    folder = write_run(tmp_path / "run").folder
    assert catalogue.entries() == {}  # the last look is still fresh
    clock.now += FRESH
    assert [entry.label for entry in catalogue.entries().values()] == ["run"]
    (folder / "config.toml").unlink()
    clock.now += FRESH
    assert catalogue.entries() == {}


def test_labels_tell_runs_of_several_roots_apart(tmp_path):
    for place in ("x/run", "y/run", "z"):
        write_run(tmp_path / place)
    roots = [tmp_path / place for place in ("x", "y", "z")]
    labels = {entry.label for entry in Catalogue(roots).entries().values()}
    assert labels == {"x/run", "y/run", "z"}


def test_names_say_nothing_of_a_path(tmp_path):
    name = name_of(tmp_path / "run")
    assert len(name) == 12 and name.isalnum()
    assert name != name_of(tmp_path / "other")
    assert Run.open(write_run(tmp_path / "run").folder).folder.name not in name
