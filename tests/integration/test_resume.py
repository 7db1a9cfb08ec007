"""Whatever stops a run, and whenever: resumed, it ends as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_runs import STEPS, arrays, conduct, left_over, process, table, tiny

from fedbridge.cli.main import main
from fedbridge.core.errors import UserError
from fedbridge.methods.files import dump_config
from fedbridge.runs.run import Run, is_finished
from fedbridge.runs.runner import Experiment
from fedbridge.server.server import Server

KILL = "os.kill(os.getpid(), signal.SIGKILL)"
IN_A_ROUND = f"""
    import os, signal
    from fedbridge.server.server import Server
    absorb, count = Server.absorb, 0
    def dying(self, upload):
        global count
        count += 1
        {KILL} if count == 5 else absorb(self, upload)
    Server.absorb = dying
"""  # the second upload of the second round
IN_A_CHECKPOINT = f"""
    import os, signal
    from fedbridge.federation.local import LocalTransport
    save, count = LocalTransport.save, 0
    def dying(self, folder):
        global count
        count += 1
        save(self, folder)
        count == 2 and {KILL}
    LocalTransport.save = dying
"""  # its files are written, its manifest is not
AFTER_MEASURING = f"""
    import os, signal
    from fedbridge.runs.run import Run
    write = Run.write_accuracy
    def dying(self, rows):
        write(self, rows)
        {KILL}
    Run.write_accuracy = dying
"""  # the table is newer than the checkpoint
SLOW = """
    import time
    from fedbridge.server.server import Server
    finish, count = Server.finish_round, 0
    def slow(self, step):
        global count
        count += 1
        finish(self, step)
        if count == 3:
            print(flush=True)
            time.sleep(600)
    Server.finish_round = slow
"""  # says when the third round is over, and waits


def die(folder: Path, sabotage: str) -> None:
    """Let a run go on in a process that kills itself."""
    found = process(folder, sabotage)
    _, complaint = found.communicate(timeout=300)
    assert found.returncode == -signal.SIGKILL, complaint


def steps_done(folder: Path) -> list[int]:
    return sorted(int(p.name[-4:]) for p in (folder / "checkpoints").glob("step-????"))


def children(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started."""
    return [int(p.name) for p in Path("/proc").glob("[0-9]*") if status(int(p.name))[1] == pid]


def status(pid: int) -> tuple[str, int]:
    """Return a process's state and the id of its parent."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "gone", 0
    return state, int(parent)


def gone(pids: list[int], patience: float = 60.0) -> bool:
    """Say whether all these processes end within some seconds."""
    deadline = time.monotonic() + patience
    while left := [pid for pid in pids if status(pid)[0] not in ("gone", "Z")]:
        if time.monotonic() > deadline:
            return not left
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("until", range(1, STEPS))
def test_run_that_was_left_after_any_step(whole, tmp_path, until):
    conduct(tmp_path / "run", tiny(), until)
    assert conduct(tmp_path / "run") == table(whole)


def cut_back(whole: Path, folder: Path, steps: int) -> Path:
    """Copy a finished run to a folder and leave it as it was after some steps."""
    shutil.copytree(whole, folder)
    for checkpoint in (folder / "checkpoints").iterdir():
        if int(checkpoint.name[-4:]) > steps:
            shutil.rmtree(checkpoint)
    for name in ("accuracy.csv", "summary.json", "embeddings.json"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize(
    ("head", "workers"), [("analytic", 0), ("analytic", 2), ("probe", 0), ("tail-anchors", 0)]
)
def test_a_run_resumed_from_any_step_ends_with_the_very_same_arrays(tmp_path, head, workers):
    """Numbers that come from a file must be added up as those that were computed."""
    whole, large = tmp_path / "whole", {"head": head}
    conduct(whole, tiny(large=large, engine={"workers": 0, "checkpoints": STEPS}))
    end = arrays(whole / "checkpoints" / f"step-{STEPS:04d}")
    for done in range(1, STEPS):
        folder = cut_back(whole, tmp_path / f"from-{done}", done)
        settings = (folder / "config.toml").read_text()
        (folder / "config.toml").write_text(settings.replace("workers = 0", f"workers = {workers}"))
        assert conduct(folder) == table(whole)
        again = arrays(folder / "checkpoints" / f"step-{STEPS:04d}")
        assert again.keys() == end.keys()
        assert [name for name in end if not torch.equal(end[name], again[name])] == []


def test_run_killed_again_and_again(whole, tmp_path):
    folder = tmp_path / "run"
    Run.create(folder, tiny())
    die(folder, AFTER_MEASURING)
    assert steps_done(folder) == []
    die(folder, IN_A_ROUND)
    assert steps_done(folder) == [1]
    die(folder, IN_A_CHECKPOINT)
    assert left_over(folder) == ["step-0003.partial"]
    assert steps_done(folder) == [1, 2]
    assert conduct(folder) == table(whole)
    assert left_over(folder) == []
    assert steps_done(folder) == [STEPS - 1, STEPS]


def test_run_whose_checkpoints_are_far_apart_goes_on_from_the_last(whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    rounds = []  # a clock by which a round takes a second, and nothing else takes any time
    finish = Server.finish_round
    monkeypatch.setattr(Server, "finish_round", lambda s, step: rounds.append(finish(s, step)))
    clock = SimpleNamespace(monotonic=lambda: float(len(rounds)))
    monkeypatch.setattr("fedbridge.runs.runner.time", clock)
    conduct(folder, tiny(engine={"checkpoint_seconds": 2.5, "checkpoints": 9}), until=5)
    assert steps_done(folder) == [3]
    assert conduct(folder) == table(whole)
    assert steps_done(folder) == [3, STEPS]


def test_run_that_was_killed_before_its_first_checkpoint_was_due(whole, tmp_path):
    folder = tmp_path / "run"
    Run.create(folder, tiny(engine={"checkpoint_seconds": 1000.0}))
    die(folder, IN_A_ROUND)
    assert steps_done(folder) == []
    assert conduct(folder) == table(whole)
    assert steps_done(folder) == [STEPS]


def test_run_with_workers_killed_leaves_no_process_and_goes_on(whole, tmp_path):
    folder = tmp_path / "run"
    Run.create(folder, tiny(engine={"workers": 2}))
    found = process(folder, SLOW)
    found.stdout.readline()
    workers = children(found.pid)
    assert len(workers) >= 2
    found.kill()
    found.communicate()
    assert gone(workers)
    assert steps_done(folder) == [1, 2]
    assert conduct(folder) == table(whole)
    assert left_over(folder) == []


@pytest.mark.parametrize(("workers", "request_"), [(0, signal.SIGTERM), (2, signal.SIGINT)])
def test_run_that_was_asked_to_stop(whole, tmp_path, workers, request_):
    folder = tmp_path / "run"
    Run.create(folder, tiny(engine={"workers": workers}))
    found = process(folder, SLOW)
    found.stdout.readline()
    started = children(found.pid)
    os.killpg(found.pid, request_)  # as a terminal does: workers are asked too
    _, complaint = found.communicate(timeout=300)
    assert found.returncode == 130
    assert complaint == f"stopped; go on with: fedbridge resume {folder}\n"
    assert gone(started)
    assert steps_done(folder) == [1, 2]
    settings = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(settings.replace("workers = 2", "workers = 0"))
    assert conduct(folder) == table(whole)


def test_damaged_checkpoint_is_passed_over(whole, tmp_path):
    folder = tmp_path / "run"
    conduct(folder, tiny(), until=4)
    damaged = folder / "checkpoints" / "step-0004" / "client-2.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    assert conduct(folder) == table(whole)
    warnings = [e["message"] for e in Run.open(folder).events() if e["kind"] == "warning"]
    assert len(warnings) == 1
    assert "step-0004: client-2.safetensors has changed" in warnings[0]


def test_run_without_a_whole_checkpoint_says_so(tmp_path):
    folder = tmp_path / "run"
    conduct(folder, tiny(), until=2)
    for checkpoint in (folder / "checkpoints").iterdir():
        (checkpoint / "server.json").unlink()
    with pytest.raises(UserError, match=r"no checkpoint of this run is whole: .*server.json"):
        conduct(folder)


def test_two_processes_cannot_work_on_one_run(tmp_path):
    folder = tmp_path / "run"
    first = Experiment(Run.create(folder, tiny())).run_steps()
    next(first)
    with pytest.raises(UserError, match="another process is carrying out this run"):
        conduct(folder)
    first.close()
    conduct(folder, until=2)


def test_of_three_that_begin_in_one_folder_at_once_one_does_and_the_others_are_refused(
    whole, tmp_path
):
    config, folder = tmp_path / "tiny.toml", tmp_path / "new" / "run"
    config.write_text(dump_config(tiny()))
    command = [sys.executable, "-m", "fedbridge.cli.main", "run", str(config), "--out", str(folder)]
    found = [
        subprocess.Popen(
            [*command, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [process.communicate(timeout=300)[1] for process in found]
    assert sorted(process.returncode for process in found) == [0, 2, 2], said
    refused = [words for words, process in zip(said, found, strict=True) if process.returncode]
    assert all("let it end first" in words or "in use" in words for words in refused)
    assert table(folder) == table(whole)
    assert left_over(folder) == []


def test_a_run_of_an_earlier_version_has_no_lock_yet_and_goes_on(whole, tmp_path):
    folder = tmp_path / "run"
    conduct(folder, tiny(), until=2)
    (folder / ".lock").unlink()
    assert conduct(folder) == table(whole)


def damaged_in(folder: Path) -> None:
    """Leave a folder as a power cut may."""
    for name in ("summary.json", "embeddings.json", "accuracy.csv"):
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] + bytes(4096))
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"time": 1, "ki\xff\n' + bytes(512))
    (folder / "summary.json.partial").write_text("{")
    shutil.copytree(folder / "checkpoints" / "step-0006", folder / "checkpoints" / "step-0007")
    (folder / "checkpoints" / "step-0007" / "manifest.json").write_bytes(bytes(300))
    (folder / "checkpoints" / "step-0006.partial").mkdir()


def test_what_a_power_cut_has_damaged_is_written_anew(whole, tmp_path):
    folder = tmp_path / "run"
    conduct(folder, tiny())
    before = json.loads((folder / "summary.json").read_text())
    damaged_in(folder)
    assert not is_finished(folder)
    assert main_of("resume", str(folder), "--quiet") == 0
    assert table(folder) == table(whole)
    assert is_finished(folder)
    after = json.loads((folder / "summary.json").read_text())
    assert after["results"] == before["results"]
    warnings = [e["message"] for e in Run.open(folder).events() if e["kind"] == "warning"]
    assert [words[:30] for words in warnings] == [
        "events.jsonl: 2 lines are no e",
        "checkpoint passed over: " + str(folder)[:6],
    ]


def main_of(*words: str) -> int:
    """Call the command line in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fedbridge", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def test_summary_of_a_resumed_run_counts_everything_once(whole, tmp_path):
    folder = tmp_path / "run"
    conduct(folder, tiny(), until=3)
    conduct(folder)
    ours, theirs = (json.loads((f / "summary.json").read_text()) for f in (folder, whole))
    for key in ("seconds", "peak_memory_mib"):
        ours.pop(key), theirs.pop(key)
    assert ours == theirs


WORKER_ALONE = """
    import os, signal, threading
    from concurrent.futures import ProcessPoolExecutor as Pool
    submit = Pool.submit
    def dying(self, *work):
        found = submit(self, *work)
        print(flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if __name__ == "__main__":
        Pool.submit = dying
"""  # the first worker is started and has heard of nothing that it is to do


def test_a_worker_whose_run_is_killed_as_it_starts_ends_by_itself(tmp_path):
    folder = tmp_path / "run"
    Run.create(folder, tiny(engine={"workers": 2}))
    found = process(folder, WORKER_ALONE)
    found.communicate(timeout=300)
    assert found.returncode == -signal.SIGKILL
    group = [
        int(p.name) for p in Path("/proc").glob("[0-9]*") if group_of(int(p.name)) == found.pid
    ]
    assert group
    assert gone(group, patience=60.0)


def group_of(pid: int) -> int:
    """Return the process group of a process, 0 if it is gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
