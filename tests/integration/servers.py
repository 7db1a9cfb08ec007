"""Real Flower processes on loopback: started with a time limit, ended by their ids."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
PORTS = range(10_000, 32_000)
"""Below those from which systems draw for connections: between two looks none is taken."""


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which the commands beside this Python come first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, **QUIET, "PATH": path, **more}


def free_ports(count: int) -> list[int]:
    """Return ports of loopback on which nobody listens, and that no system gives away itself."""
    ports: list[int] = []
    while len(ports) < count:
        port = secrets.choice(PORTS)
        if port not in ports and not is_open(port):
            ports.append(port)
    return ports


class Process:
    """A command in a process group of its own, whose words go to a file."""

    def __init__(self, command: list[str | Path], log: Path, **more: str) -> None:
        self.log = log
        with log.open("w") as file:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(**more),
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, words: str, seconds: float = 60.0) -> None:
        """Wait until it has said something; it must not end before."""
        wait_until(lambda: words in self.said or self.popen.poll() is not None, seconds, self.log)
        assert words in self.said, self.said

    def end(self) -> None:
        """End the process and those that it started, politely and then not."""
        for number, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self.popen.pid, number)
                self.popen.wait(seconds)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


def wait_until(condition: Callable[[], bool], seconds: float, what: object) -> None:
    """Wait until a condition holds; fail after some seconds, saying what was waited for."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.1)


def is_open(port: int) -> bool:
    """Say whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def carried_out(command: list[str | Path], **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in at most two minutes."""
    return subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, timeout=120, check=False
    )
