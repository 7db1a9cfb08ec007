"""The display of a real run: on a terminal, interrupted, gone on with; and without one."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
from pathlib import Path

import pytest
from tiny_runs import conduct, tiny

from fedbridge.methods.files import dump_config
from fedbridge.runs.live.standing import RunStatus
from fedbridge.runs.live.watching import watched
from fedbridge.runs.run import Run
from fedbridge.runs.runner import Experiment, connect_locally

SIGNS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SHOWN, HIDDEN = b"\x1b[?25h", b"\x1b[?25l"


def on_terminal(*arguments: str, interrupt: bytes = b"") -> tuple[int, bytes, bool]:
    """Run fedbridge on a terminal; return its code, what it wrote, and whether it echoes still."""
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests may ignore it
        os.execv(sys.executable, [sys.executable, "-m", "fedbridge.cli.main", *arguments])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    written, echoes = b"", True
    while True:
        select.select([terminal], [], [], 60.0)
        try:
            new = os.read(terminal, 65536)
        except OSError:  # the other side is gone
            break
        if not new:
            break
        written += new
        echoes = bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
        if interrupt and interrupt in written:
            os.write(terminal, b"\x03")
            interrupt = b""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    return code, written, echoes


def plain(written: bytes) -> str:
    return SIGNS.sub("", written.decode())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(dump_config(tiny()))
    return path


def test_interrupted_on_a_terminal_and_gone_on_with(config: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    code, written, echoes = on_terminal(
        "run", str(config), "--out", folder, interrupt=b"task 2/3 round 1/2"
    )
    assert code == 130 and echoes
    assert written.count(HIDDEN) == 1 and written.rfind(SHOWN) > written.rfind(HIDDEN)
    text = plain(written)
    assert text.rstrip().endswith(f"go on with: fedbridge resume {folder}".replace("\n", ""))
    assert re.search(r"client-1 +1 +uploaded", text) and "together" in text

    code, written, echoes = on_terminal("resume", folder)
    assert code == 0 and echoes and written.rfind(SHOWN) > written.rfind(HIDDEN)
    text = plain(written)
    assert "task 3/3 round 2/2" in text and "final" in text
    assert re.search(r"MiB up, .* down", text)


def test_without_a_terminal_it_is_lines_as_ever(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from fedbridge.cli import main as cli

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["fedbridge", "run", str(config), "--out", str(tmp_path / "r")])
        cli.main()
    assert not end.value.code
    out, err = capfd.readouterr()
    steps = [line for line in out.splitlines() if line.startswith("task ")]
    assert [line.partition(":")[0] for line in steps] == [
        f"task {task} round {round_}" for task in (1, 2, 3) for round_ in (1, 2)
    ]
    assert err == "" and "\x1b" not in out


def test_watching_changes_no_number_and_sees_every_phase(whole: Path, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", tiny())
    standing = RunStatus(run.config)
    phases: list[str] = []
    enter, learn = standing.enter, standing.learn
    standing.enter = lambda phase: (phases.append(phase), enter(phase))[1]  # type: ignore[method-assign]
    standing.learn = lambda *a: (phases.append("learn"), learn(*a))[1]  # type: ignore[method-assign]
    connect = watched(connect_locally, standing)
    for progress in Experiment(run, connect=connect).run_steps():
        standing.advance(progress, run.events())
        assert {seat.doing for seat in standing.seats.values()} == {"uploaded"}
        assert {seat.task for seat in standing.seats.values()} == {progress.step.task}
    assert (run.folder / "accuracy.csv").read_bytes() == (whole / "accuracy.csv").read_bytes()
    a_round = ["learn", "fuse", "save"]
    a_task = [*a_round, "learn", "fuse", "evaluate", "save"]
    begin = ["starting clients", "warm start", "evaluate"]
    assert phases == [*begin, *a_task, *a_task, *a_task, "draw the shared space"]
    assert standing.faults == []
    assert standing.seats["client-1"].accuracy == progress.means("client-1")
    assert progress.refused == 0 and progress.bytes_up > progress.bytes_down > 0


def test_taking_up_a_checkpoint_is_a_phase(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    conduct(folder, tiny(), until=1)
    standing = RunStatus(tiny())
    seen: list[str] = []
    enter = standing.enter
    standing.enter = lambda phase: (seen.append(phase), enter(phase))[1]  # type: ignore[method-assign]
    experiment = Experiment(Run.open(folder), connect=watched(connect_locally, standing))
    steps = experiment.run_steps()
    assert next(steps).done == 2
    steps.close()
    assert "take up the checkpoint" in seen
