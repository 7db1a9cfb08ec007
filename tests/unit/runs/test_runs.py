import errno
import json
import os
import re
import threading
from pathlib import Path

import pytest

from fedbridge.config import Engine
from fedbridge.core.errors import UserError
from fedbridge.core.metrics import AccuracyRow
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.runs import run as runs
from fedbridge.runs.launch import resuming
from fedbridge.runs.run import Run, environment, exclusive_lock, read_accuracy

ROW = AccuracyRow("client-1", 1, 1, "small", "class-incremental", 1, 3)


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", Config(seed=5, engine=Engine(checkpoints=2)))


def keep(run, *steps):
    for step in steps:
        run.write_accuracy([ROW] * (step > 0))
        with run.checkpoint(step) as folder:
            (folder / "model.bin").write_bytes(bytes([step] * 100))
            (folder / "clients").mkdir()
            (folder / "clients" / "a.json").write_text(f'{{"step": {step}}}')


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- settings and environment


def test_new_run_opens_with_its_resolved_settings(run):
    assert names(run.folder) == ["config.toml", "environment.json"]
    assert Run.open(run.folder).config == run.config
    assert "rounds = 2" in (run.folder / "config.toml").read_text()


def test_run_starts_in_an_empty_folder_and_makes_parents(tmp_path):
    (tmp_path / "empty").mkdir()
    Run.create(tmp_path / "empty", Config())
    Run.create(tmp_path / "a" / "b" / "c", Config())
    assert (tmp_path / "a" / "b" / "c" / "config.toml").is_file()


def test_folder_in_use_is_refused_and_left_as_it_is(run):
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(UserError, match=r"--out, or go on with it: fedbridge resume .*run"):
        Run.create(run.folder, Config(seed=6))
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="needs a new or empty folder"):
        Run.create(tmp_path / "run", Config())
    with pytest.raises(UserError, match="run/below: cannot be written: Not a directory"):
        Run.create(tmp_path / "run" / "below", Config())


@pytest.mark.parametrize("missing", ["config.toml", "environment.json"])
def test_open_names_what_is_missing(run, missing):
    (run.folder / missing).unlink()
    with pytest.raises(UserError, match=f"missing: {missing}$"):
        Run.open(run.folder)


def test_open_of_no_folder_at_all_names_everything(tmp_path):
    with pytest.raises(UserError, match=r"missing: config.toml, environment.json$"):
        Run.open(tmp_path / "nowhere")


def test_invalid_settings_are_refused_on_opening(run):
    (run.folder / "config.toml").write_text("seed = -1")
    with pytest.raises(UserError, match=r"config.toml: seed: .*found -1"):
        Run.open(run.folder)


def test_environment_says_what_numbers_may_depend_on(run):
    found = json.loads((run.folder / "environment.json").read_text())
    assert found.pop("run") == run.token
    assert found.pop("settings") == run.config.model_dump(mode="json", exclude_none=True)
    assert found == environment(5)
    assert found["seed"] == 5
    assert found["python"].startswith("3.")
    assert found["fedbridge"] and found["torch"] and found["numpy"]
    assert found["cpus"] == os.cpu_count()
    assert found["commit"] is None or len(found["commit"]) == 40


def test_packages_and_git_need_not_be_there(monkeypatch):
    def missing(name):
        raise runs.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(runs.metadata, "version", missing)
    monkeypatch.setenv("PATH", "")
    found = environment(0)
    assert found["torch"] is None
    assert found["commit"] is None


# -- events


def test_events_come_back_in_order_with_times(run):
    run.event("round", task=1, round=2)
    run.event("warning", message="line\nbreak \u2028 and ünicode")
    first, second = run.events()
    assert (first["kind"], first["task"], first["round"]) == ("round", 1, 2)
    assert second["message"] == "line\nbreak ? and ünicode"
    assert 0.0 <= first["time"] <= second["time"] < 60.0


def test_words_of_another_side_are_made_legible_and_names_are_kept(run):
    told = "\x1b[2Jgone\n\u202ennp.\x07"
    run.event("refused", client=told, reason=told, message=ValueError(told))
    (event,) = run.events()
    assert event["reason"] == event["message"] == "?[2Jgone\n?nnp.?"
    assert event["client"] == told


def test_clock_of_a_resumed_run_goes_on(run):
    (run.folder / "events.jsonl").write_text('{"time": 1000.5, "kind": "round"}\n')
    resumed = Run.open(run.folder)
    resumed.event("resumed")
    assert 1000.5 <= resumed.events()[-1]["time"] < 1060.0


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_line_torn_by_a_kill_is_left_out_and_overwritten(run, cut):
    run.event("one")
    run.event("torn", detail="something longer")
    path = run.folder / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [event["kind"] for event in run.events()] == ["one"]
    resumed = Run.open(run.folder)
    resumed.event("two")
    assert [event["kind"] for event in resumed.events()] == ["one", "two"]
    assert path.read_bytes().count(b"\n") == 2


def test_only_line_torn_leaves_no_event(run):
    (run.folder / "events.jsonl").write_text('{"time": 1')
    assert run.events() == []
    run.event("first")
    assert [event["kind"] for event in run.events()] == ["first"]


def test_what_cannot_be_read_is_said_once_and_as_an_event(run, caplog):
    run.event("one")
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b'{broken\n\xff\n{"time": 2, "kind": "b"}\n\0\0\0\0')
    said = "events.jsonl: 3 lines are no events and left out; was the machine switched off?"
    for _ in range(2):
        Run.open(run.folder).note_unread()
        assert [event["kind"] for event in run.events()] == ["one", "b", "warning"]
        assert run.events()[-1]["message"] == said
    assert caplog.messages == [f"{run.folder}: {said}"]


def test_event_that_json_does_not_know_is_refused(run):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.event("round", loss=float("nan"))
    assert run.events() == []


# -- accuracy table and summary


def test_table_has_declared_columns_order_and_exact_numbers(run):
    other = AccuracyRow("client-1", 0, 1, "together", "task-aware", 0, 7)
    run.write_accuracy([ROW, other])
    assert (run.folder / "accuracy.csv").read_text() == (
        "client,after_task,on_task,predictor,protocol,accuracy,n\n"
        "client-1,0,1,together,task-aware,0.0,7\n"
        "client-1,1,1,small,class-incremental,0.3333333333333333,3\n"
    )
    assert read_accuracy(run.folder) == [other, ROW]


def test_every_count_comes_back_from_the_table(run):
    rows = [
        AccuracyRow("a, b", 1, on, "large", "task-aware", correct, n)
        for on, (correct, n) in enumerate([(0, 1), (1, 1), (2, 3), (49_999, 99_991)], start=1)
    ]
    run.write_accuracy(rows)
    assert read_accuracy(run.folder) == rows


def test_no_table_means_no_rows(run):
    assert read_accuracy(run.folder) == []


def test_table_is_replaced_as_a_whole(run):
    run.write_accuracy([ROW])
    run.write_accuracy([])
    assert read_accuracy(run.folder) == []
    assert names(run.folder) == ["accuracy.csv", "config.toml", "environment.json"]


@pytest.mark.parametrize(
    "line",
    [
        "a,1,1,small,task-aware,0.5",
        "a,x,1,small,task-aware,0.5,2",
        "a,-1,1,small,task-aware,0.5,2",
        "a,1,0,small,task-aware,0.5,2",
        "a,1,1,medium,task-aware,0.5,2",
        "a,1,1,small,task-agnostic,0.5,2",
        "a,1,1,small,task-aware,1.5,2",
        "a,1,1,small,task-aware,0.4,2",
        "a,1,1,small,task-aware,nan,2",
        "a,1,1,small,task-aware,inf,2",
        "a,1,1,small,task-aware,0.5,0",
    ],
)
def test_line_that_is_no_measurement_is_named(run, line):
    run.write_accuracy([ROW])
    with (run.folder / "accuracy.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"accuracy.csv, line 3: must be a measurement"):
        read_accuracy(run.folder)


@pytest.mark.parametrize("text", ["", "client,accuracy\n"])
def test_other_columns_are_refused(run, text):
    (run.folder / "accuracy.csv").write_text(text)
    with pytest.raises(UserError, match=r"accuracy.csv: the first line must be client,after_task"):
        read_accuracy(run.folder)


def test_summary_is_json_without_nan(run):
    run.write_summary({"final_accuracy": 0.5, "forgetting": None})
    found = json.loads((run.folder / "summary.json").read_text())
    assert found == {"final_accuracy": 0.5, "forgetting": None}
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_summary({"forgetting": float("nan")})
    assert json.loads((run.folder / "summary.json").read_text()) == found


# -- checkpoints


def test_no_checkpoint_before_the_first(run):
    assert run.latest_checkpoint() is None


def test_newest_checkpoint_comes_back_with_its_files_and_rows(run):
    keep(run, 0, 1)
    run.write_accuracy([])  # whatever is measured after the checkpoint is not part of it
    found = Run.open(run.folder).latest_checkpoint()
    assert found == run.folder / "checkpoints" / "step-0001"
    assert names(found) == ["accuracy.csv", "clients", "manifest.json", "model.bin"]
    assert (found / "model.bin").read_bytes() == bytes([1] * 100)
    assert read_accuracy(found) == [ROW]
    assert run.events() == []


def test_only_the_newest_are_kept_and_sorted_by_number(run):
    for step in (9_999, 10_000, 10_001):
        with run.checkpoint(step) as folder:
            (folder / "x").write_text("")
    assert names(run.folder / "checkpoints") == ["step-10000", "step-10001"]
    assert run.latest_checkpoint().name == "step-10001"


def test_manifest_lists_size_and_digest_of_every_file(run):
    with run.checkpoint(3) as folder:
        (folder / "x").write_bytes(b"abc")
    manifest = json.loads((run.folder / "checkpoints/step-0003/manifest.json").read_text())
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest == {"step": 3, "files": {"x": {"bytes": 3, "sha256": sha256}}}


def flip(folder):
    content = bytearray((folder / "model.bin").read_bytes())
    content[50] ^= 1
    (folder / "model.bin").write_bytes(content)
    return "model.bin has changed"


def shorten(folder):
    with (folder / "model.bin").open("r+b") as file:
        file.truncate(99)
    return "model.bin has changed"


def delete(folder):
    (folder / "clients" / "a.json").unlink()
    return "clients/a.json is missing"


def tear_manifest(folder):
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text[: len(text) // 2])
    return "manifest.json cannot be read"


def replace_manifest(folder):
    (folder / "manifest.json").write_text("[]")
    return "manifest.json cannot be read"


def delete_manifest(folder):
    (folder / "manifest.json").unlink()
    return "manifest.json is missing"


def spoil_rows(folder):
    with (folder / "accuracy.csv").open("a") as file:
        file.write("a,1,1,small,task-aware,0.5,2\n")
    return "accuracy.csv has changed"


DAMAGES = [flip, shorten, delete, tear_manifest, replace_manifest, delete_manifest, spoil_rows]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_passed_over_with_a_warning(run, damage):
    keep(run, 1, 2)
    older, newest = (run.folder / "checkpoints" / f"step-000{step}" for step in (1, 2))
    complaint = damage(newest)
    assert run.latest_checkpoint() == older
    (event,) = run.events()
    assert event["kind"] == "warning"
    assert event["message"] == f"checkpoint passed over: {newest}: {complaint}"


def test_what_kills_have_left_goes_when_the_next_one_is_written(run):
    keep(run, 1)
    for name in ("step-0002.partial", "step-0001.former.partial"):
        (run.folder / "checkpoints" / name).mkdir()
    keep(run, 3)
    assert names(run.folder / "checkpoints") == ["step-0001", "step-0003"]


def test_killed_while_a_step_is_written_again_the_one_before_is_whole(run, monkeypatch):
    keep(run, 1, 2)
    rename = Path.rename

    def dying(self, target):
        if target.name == "step-0002" and not target.exists():
            raise KeyboardInterrupt  # the former one is away, the new one not yet there
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", dying)
    with pytest.raises(KeyboardInterrupt):
        keep(run, 2)
    assert run.latest_checkpoint().name == "step-0001"
    assert run.events() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_step_can_be_written_again(run, damage):
    keep(run, 1, 2)
    damage(run.folder / "checkpoints" / "step-0002")
    keep(run, 2)
    assert run.latest_checkpoint().name == "step-0002"
    assert run.events() == []


def test_no_whole_checkpoint_at_all_is_an_error_naming_files(run):
    keep(run, 1, 2)
    flip(run.folder / "checkpoints" / "step-0001")
    delete(run.folder / "checkpoints" / "step-0002")
    with pytest.raises(UserError) as caught:
        run.latest_checkpoint()
    assert "step-0001: model.bin has changed" in str(caught.value)
    assert "step-0002: clients/a.json is missing" in str(caught.value)


def test_interrupted_checkpoint_leaves_no_trace(run):
    keep(run, 1)
    with pytest.raises(KeyboardInterrupt), run.checkpoint(2) as folder:
        (folder / "x").write_text("half")
        raise KeyboardInterrupt
    assert names(run.folder / "checkpoints") == ["step-0001"]


def test_what_a_killed_process_left_is_no_checkpoint(run):
    keep(run, 1)
    left = run.folder / "checkpoints" / "step-0002.partial"
    left.mkdir()
    (left / "old").write_text("half")
    assert run.latest_checkpoint().name == "step-0001"
    keep(run, 2)
    assert "old" not in names(run.latest_checkpoint())
    assert names(run.folder / "checkpoints") == ["step-0001", "step-0002"]


# -- a full disk


def test_a_step_that_is_written_again_leaves_none_of_another_past(run):
    keep(run, 1, 2, 3)
    keep(run, 2)
    assert names(run.folder / "checkpoints") == ["step-0002"]


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_inside_the_block_leaves_earlier_checkpoints_whole(run):
    keep(run, 1, 2)
    expected = pytest.raises(UserError, match=r"step-0003: cannot be written: disk full")
    with expected, run.checkpoint(3) as folder:
        (folder / "x").write_text("half")
        no_space()
    assert names(run.folder / "checkpoints") == ["step-0001", "step-0002"]
    assert run.latest_checkpoint().name == "step-0002"


def test_full_disk_reported_in_words_only_is_recognised(run):
    with pytest.raises(UserError, match="disk full"), run.checkpoint(1):
        raise RuntimeError("I/O error: No space left on device (os error 28)")


def test_full_disk_while_the_manifest_is_written(run, monkeypatch):
    keep(run, 1)
    expected = pytest.raises(UserError, match=r"manifest.json: cannot be written: disk full")
    with monkeypatch.context() as patch, expected, run.checkpoint(2) as folder:
        (folder / "x").write_text("")
        patch.setattr(Path, "write_text", no_space)
    assert names(run.folder / "checkpoints") == ["step-0001"]


def test_full_disk_while_a_table_is_written_keeps_the_old_one(run, monkeypatch):
    run.write_accuracy([ROW])
    before = names(run.folder)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_space)
        for write in (lambda: run.write_accuracy([]), lambda: run.write_summary({})):
            with pytest.raises(UserError, match="disk full; earlier files are intact"):
                write()
    assert read_accuracy(run.folder) == [ROW]
    assert names(run.folder) == before


def test_full_disk_while_an_event_is_written(run, monkeypatch):
    monkeypatch.setattr(Path, "open", no_space)
    with pytest.raises(UserError, match=r"events.jsonl: cannot be written: disk full"):
        run.event("round")


def test_read_only_folder_is_named(run, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(UserError, match=r"summary.json: cannot be written: Read-only file system"):
        run.write_summary({})


def test_other_errors_of_the_block_are_not_disguised(run):
    with pytest.raises(FileNotFoundError), run.checkpoint(1):
        Path(run.folder / "nothing").read_text()
    with pytest.raises(ZeroDivisionError), run.checkpoint(1):
        _ = 1 / 0


def test_runs_are_told_apart_however_alike_they_are(tmp_path):
    config = Config(seed=5)
    tokens = {Run.create(tmp_path / name, config).token for name in "ab"}
    assert len(tokens) == 2 and all(re.fullmatch("[0-9a-f]{16}", token) for token in tokens)
    assert Run.open(tmp_path / "a").token in tokens


# -- one process at a time


def test_a_second_process_waits_for_as_long_as_it_is_told_to(run):
    held, free = threading.Event(), threading.Event()

    def old_process():
        with exclusive_lock(run.folder):
            held.set()
            free.wait()

    old = threading.Thread(target=old_process)
    old.start()
    held.wait()
    with (
        pytest.raises(UserError, match="another process is carrying out this run"),
        exclusive_lock(run.folder),
    ):
        pass
    threading.Timer(0.3, free.set).start()
    with exclusive_lock(run.folder, patience=60.0):
        assert free.is_set()
    old.join()


def test_a_run_whose_clients_are_elsewhere_does_not_go_on_here(tmp_path):
    here, away = (tmp_path / name for name in ("here", "away"))
    assert not Run.create(here, Config()).deployed
    assert Run.open(here).go_on == f"fedbridge resume {here}"
    assert Run.create(away, Config(), deployed=True).deployed
    assert resuming(here).run.folder == here
    with pytest.raises(UserError, match=r"clients are at their sites; go on with: \./run\.sh away"):
        resuming(away)


# -- settings that have changed


def edited(run, old, new):
    path = run.folder / "config.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed = 5", "seed = 6", "seed: 5 when it was started, 6 now"),
        ("clients = ", "clients = 1", r"scenario\.clients: \d+ when it was started, 1\d+ now"),
        ('model = "', 'model = "x', r"large\.model: '\w+' when it was started, 'x\w+' now"),
        ('kind = "local"', 'kind = "flower"', r"engine\.kind: 'local' when .*, 'flower' now"),
        ('precision = "auto"', 'precision = "float16"', r"engine\.precision: 'auto' when"),
        ("\ntasks = ", "\ntasks = 1", r"scenario\.tasks: \d+ when .*, 1\d+ now"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_a_run_whose_settings_have_changed_is_refused(run, old, new, told, finished):
    if finished:
        run.write_summary({})
    before = (run.folder / "environment.json").read_bytes()
    edited(run, old, new)
    with pytest.raises(UserError, match=told) as caught:
        Run.open(run.folder)
    assert "config.toml: has been changed since this run was started" in str(caught.value)
    assert ("The run is finished" in str(caught.value)) == finished
    assert (run.folder / "environment.json").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('workers = "auto"', "workers = 3"),
        ("threads = 1", "threads = 2"),
        ('device = "auto"', 'device = "cpu"'),
        ("checkpoints = 2", "checkpoints = 5"),
        ("checkpoint_seconds = 0.0", "checkpoint_seconds = 9.0"),
        ("to = []", 'to = ["tensorboard"]'),
        ("batch = 64", "batch = 32"),
    ],
)
def test_what_no_number_depends_on_may_change(run, old, new):
    text = (run.folder / "config.toml").read_text()
    head, section, rest = text.partition("[large]") if old == "batch = 64" else ("", "", text)
    assert old in rest
    (run.folder / "config.toml").write_text(head + section + rest.replace(old, new, 1))
    assert Run.open(run.folder).config != run.config


def test_own_files_may_have_moved_but_not_be_others(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    data = {"name": f"csv:{tmp_path}/one/t.csv", "own": {"text": "text"}}
    run = Run.create(tmp_path / "run", parse_config({"data": data}, "c"))
    edited(run, "/one/t.csv", "/two/t.csv")
    assert Run.open(run.folder).config.data.name.endswith("/two/t.csv")
    edited(run, "/two/t.csv", "/two/u.csv")
    with pytest.raises(UserError, match=r"data\.name: 'csv:t.csv' when .*, 'csv:u.csv' now"):
        Run.open(run.folder)


def test_a_run_of_before_is_compared_with_what_it_told(run):
    path = run.folder / "environment.json"
    told = json.loads(path.read_text())
    del told["settings"]
    path.write_text(json.dumps(told))
    assert Run.open(run.folder).config == run.config
    edited(run, "seed = 5", "seed = 6")
    with pytest.raises(UserError, match="seed: 5 when it was started, 6 now"):
        Run.open(run.folder)
    edited(run, "seed = 6", "seed = 5")
    run.write_summary({"seed": 5, "tasks": 9, "large": run.config.large.model})
    with pytest.raises(UserError, match=r"tasks: 9 when .*The run is finished"):
        Run.open(run.folder)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"seed": 5', "environment.json: .*Invalid JSON"),
        ("[]", "environment.json: .*must be an object"),
        ('{"settings": 3}', "environment.json: settings: "),
        ('{"settings": {"seed": -1}}', "environment.json: settings: seed: "),
    ],
)
def test_an_environment_that_is_damaged_is_told(run, text, rule):
    (run.folder / "environment.json").write_text(text)
    with pytest.raises(UserError, match=rule):
        Run.open(run.folder)


@pytest.mark.parametrize("token", [None, 3, "x" * 16, ["a"]])
def test_a_run_must_have_its_token(run, token):
    path = run.folder / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "run": token}))
    with pytest.raises(UserError, match=r"environment\.json: run: must be 16 hexadecimal digits"):
        _ = Run.open(run.folder).token
