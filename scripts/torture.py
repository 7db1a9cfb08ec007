"""Kill a tiny run at random moments, go on with it, and compare it with one that nobody disturbed.

    python scripts/torture.py --kills 100 --seed 0 --workers 0

A process that has imported everything forks one for every attempt, so that a hundred kills take
minutes. Kills are SIGKILL: of the whole process group at a random moment or at a random touch of
a file; every tenth time of the process alone, whose workers must then end by themselves, and every
tenth time of the real command. A run that was killed goes on with ``fedbridge resume``, or
begins anew where it had not begun, until it ends. Then its table, its results, its picture and
every array of its last checkpoint must be those of the undisturbed run, byte for byte, and nothing
half-written may be left. Every other run finds an empty cache. What went wrong stays on the disk,
and the exit code is 1.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIG = """\
name = "tortured"
data.name = "digits"
scenario.clients = 3
scenario.tasks = 3
scenario.classes_per_task = 2
scenario.public_per_class = 8
scenario.train_per_class = 24
large = { model = "patches", size = 16 }
small = { models = ["cnn", "mlp", "mixer"], dimension = 64 }
training = { rounds = 2, epochs = 1, batch = 16 }
learner = { name = "smcf", memory = 4, memory_batch = 8, public_batch = 16 }
fusion = { name = "obod", batch = 32 }
engine = { device = "cpu", threads = 1 }
"""
TOUCHES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}
PATIENCE = 20.0  # seconds that workers have to end after the process that started them
STARTING = 3.0  # seconds that the real command takes to import what it needs


@dataclass
class Torturer:
    """Carries out one run after the other, and kills what carries them out."""

    folder: Path
    workers: int
    chance: random.Random
    kills: int = 0
    seconds: float = 0.0
    """What an undisturbed run takes."""
    touches: int = 0
    """How often it touches files."""
    faults: list[str] = field(default_factory=list)

    def undisturbed(self) -> Path:
        """Carry out a run that nobody disturbs, and return its folder."""
        run, count = self.folder / "whole", self.folder / "touches"
        start = time.monotonic()
        child = self._forked(run, lambda: sys.addaudithook(counting(self.folder, count)))
        _, status = os.waitpid(child, 0)
        if status:
            raise SystemExit(f"the undisturbed run fails: {(self.folder / 'log').read_text()}")
        self.seconds, self.touches = time.monotonic() - start, count.stat().st_size
        return run

    def tortured(self, run: Path, most: int) -> bool:
        """Carry out a run until it ends, killed as long as there are kills left; say if it did."""
        while True:
            code = self._attempt(run) if self.kills < most else self._killed_after(run, 600.0)
            if code == 0:
                return True
            if code != -signal.SIGKILL:
                self.faults.append(f"{run}: exit code {code}: {(self.folder / 'log').read_text()}")
                return False
            self.kills += 1

    def _attempt(self, run: Path) -> int:
        """Go on with a run until it is killed, or ends before that; return the exit code."""
        moment, which = self.chance.uniform(0.0, 1.1 * self.seconds), self.kills % 10
        if which == 9:
            return killed_command(self._command(run), moment + STARTING, self._log())
        if which == 4 and self.workers:
            return self._killed_after(run, moment, alone=True)
        if self.chance.random() < 0.5:
            return self._killed_after(run, moment)
        hook = dying(self.folder, self.chance.randint(1, self.touches))
        child = self._forked(run, lambda: sys.addaudithook(hook))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self._wait_for_group(child)
        return code

    def _killed_after(self, run: Path, seconds: float, alone: bool = False) -> int:
        """Go on with a run, and kill its process or the group after some seconds."""
        child, end = self._forked(run), time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL) if alone else os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self._wait_for_group(child)
        return os.waitstatus_to_exitcode(status)

    def _wait_for_group(self, group: int) -> None:
        """See that whatever a process has started ends by itself."""
        end = time.monotonic() + PATIENCE
        while is_there(group):
            if time.monotonic() > end:
                self.faults.append(f"processes of group {group} outlive the one that started them")
                os.killpg(group, signal.SIGKILL)
                return
            time.sleep(0.01)

    def _command(self, run: Path) -> list[str]:
        if (run / "config.toml").is_file():
            return ["resume", str(run), "--quiet"]
        config, workers = str(self.folder / "config.toml"), f"engine.workers={self.workers}"
        return ["run", config, "--out", str(run), "--quiet", "--set", workers]

    def _log(self) -> int:
        return os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def _forked(self, run: Path, before: Callable[[], None] = lambda: None) -> int:
        """Have a process of a group of its own carry a run out, from where it is."""
        words = self._command(run)
        child = os.fork()
        if child:
            os.setpgid(child, child)  # both do: whoever comes first
            return child
        os.setpgid(0, 0)
        log = self._log()
        os.dup2(log, 1), os.dup2(log, 2)
        sys.argv = ["fedbridge", *words]
        code: Any = 1
        try:
            before()
            from fedbridge.cli.main import main

            main()
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code or 0)


def counting(folder: Path, count: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that writes a byte for every touch of a file below a folder."""
    file, process = os.open(count, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), os.getpid()

    def hook(event: str, about: tuple[Any, ...]) -> None:
        if event in TOUCHES and str(folder) in str(about[0]) and os.getpid() == process:
            os.write(file, b".")

    return hook


def dying(folder: Path, touch: int) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that kills the group just before a touch of a file below a folder."""
    left = [touch]

    def hook(event: str, about: tuple[Any, ...]) -> None:
        if event in TOUCHES and str(folder) in str(about[0]):
            left[0] -= 1
            if left[0] == 0:
                os.killpg(os.getpid(), signal.SIGKILL)

    return hook


def killed_command(words: list[str], seconds: float, log: int) -> int:
    """Kill the real command with all that it started after some seconds; return its exit code."""
    command = [sys.executable, "-m", "fedbridge.cli.main", *words]
    with subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()


def is_there(group: int) -> bool:
    """Say whether a process of a group still works; one that only waits to be buried does not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, own = path.read_text().rpartition(")")[2].split()[:3]
            if int(own) == group and state not in "ZX":
                return True
    return False


def differences(run: Path, whole: Path) -> list[str]:
    """Return what a run has otherwise than the undisturbed one, or has left lying about."""
    import torch
    from safetensors.torch import load_file

    names = ("accuracy.csv", "embeddings.json")
    found = [name for name in names if (run / name).read_bytes() != (whole / name).read_bytes()]
    ours, theirs = (json.loads((f / "summary.json").read_text()) for f in (run, whole))
    found += [
        f"summary.json: {key}"
        for key in theirs
        if key not in ("seconds", "peak_memory_mib") and ours.get(key) != theirs[key]
    ]
    last = max((whole / "checkpoints").iterdir())
    for path in sorted(last.glob("*.safetensors")):
        mine, own = load_file(run / "checkpoints" / last.name / path.name), load_file(path)
        found += [
            f"{path.name}: {key}"
            for key in own
            if key not in mine or not torch.equal(mine[key], own[key])
        ]
    left = {path.name for path in run.rglob("*.partial")}
    return found + [f"{name} is left" for name in sorted(left)]


def main() -> int:
    """Torture runs as the command line says, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=100, help="how many; 100 by default")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which they come")
    parser.add_argument("--workers", type=int, default=0, help="worker processes of the runs")
    parser.add_argument("--config", type=Path, help="of the runs; a tiny one on digits by default")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    text = given.config.read_text(encoding="utf-8") if given.config else CONFIG
    (folder / "config.toml").write_text(text, encoding="utf-8")
    os.environ["FEDBRIDGE_CACHE"] = str(cache := folder / "cache")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)  # whoever is killed leaves things there
    os.environ["OMP_NUM_THREADS"] = "1"  # whoever forks must have no threads

    torturer = Torturer(folder, given.workers, random.Random(given.seed))
    whole = torturer.undisturbed()
    print(f"undisturbed: {torturer.seconds:.1f} s, {torturer.touches} touches", flush=True)
    runs = 0
    while torturer.kills < given.kills and not torturer.faults:
        runs += 1
        if runs % 2 == 0:
            shutil.rmtree(cache)
        run = folder / f"run-{runs}"
        before = torturer.kills
        if torturer.tortured(run, given.kills):
            torturer.faults += [f"{run}: {words}" for words in differences(run, whole)]
        print(f"run {runs}: killed {torturer.kills - before} times", flush=True)
        if not torturer.faults:
            shutil.rmtree(run)
    print(f"{torturer.kills} kills, {runs} runs, {len(torturer.faults)} faults")
    for fault in torturer.faults:
        print(fault)
    if not torturer.faults:
        shutil.rmtree(folder)
    return 1 if torturer.faults else 0


if __name__ == "__main__":
    sys.exit(main())
