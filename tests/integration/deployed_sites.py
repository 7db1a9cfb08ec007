"""A whole deployment on loopback, as ``fedbridge deploy init`` writes it, and its processes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from servers import Process, carried_out, free_ports, is_open, wait_until

from fedbridge.deploy import folder as deploy
from fedbridge.deploy.agreement import common_files
from fedbridge.deploy.settings import ServerSettings
from fedbridge.methods.config import Config
from fedbridge.methods.files import dump_config

ACCEPTED = "SuperNode ID: "
SLOW = 300.0
"""Seconds after which what is waited for is not going to come."""
CLIENTS = ("client-1", "client-2", "client-3")


IMPATIENT = """
# Flower misses a SuperNode a minute after its last sign of life, and has no setting for that
import sys

if sys.orig_argv[1:] and sys.orig_argv[1].endswith("flower-supernode"):
    from flwr.common.constant import HEARTBEAT_MIN_INTERVAL
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection

    for module in (heartbeat, fleet_http_connection):
        module.HEARTBEAT_DEFAULT_INTERVAL = HEARTBEAT_MIN_INTERVAL  # a third of the usual
"""


class Deployment:
    """A server and three clients; every process is known by its name and ended by its id."""

    def __init__(self, base: Path, config: Config, **more: str) -> None:
        self.base, self.folder, self.more = base, base / "deployment", more
        self.port, self.inner, *self.runtime = free_ports(5)
        path = base / "config.toml"
        path.write_text(dump_config(config), encoding="utf-8")
        settings = ServerSettings(
            hosts=("127.0.0.1",),
            listen="127.0.0.1",
            port=self.port,
            superlink_port=self.inner,
            clients=CLIENTS,
        )
        deploy.init(self.folder, settings, 30, common_files(path, CLIENTS))
        for name, own in zip(CLIENTS, self.runtime, strict=True):
            env = self.site(name) / "client.env"
            text = env.read_text(encoding="utf-8").partition("RUNTIME_PORT=")[0]
            env.write_text(f"{text}RUNTIME_PORT={own}\n", encoding="utf-8")
        self.processes: dict[str, Process] = {}

    def site(self, client: str) -> Path:
        return self.folder / "clients" / client

    def start_server(self) -> None:
        """Start the SuperLink and, if it is not there, the gate."""
        self._start("superlink", [self.folder / "server" / "superlink.sh"], self.inner)
        if "gate" not in self.processes:
            self._start("gate", [self.folder / "server" / "gate.sh"], self.port)

    def register(self) -> None:
        done = carried_out([self.folder / "server" / "register.sh"])
        assert done.returncode == 0, done.stderr

    def start_clients(self, *clients: str, folder: Path | None = None, **more: str) -> None:
        """Start SuperNodes as services are: again until the server has missed those before."""
        scripts = {name: (folder or self.site(name)) / "start.sh" for name in clients}
        for name, script in scripts.items():
            self._start(name, [script], **more)
        end = time.monotonic() + 150.0
        while waiting := [name for name in clients if ACCEPTED not in self.processes[name].said]:
            for name in waiting:
                if self.processes[name].popen.poll() is not None:
                    self.processes[name].end()  # what it has started
                    self._start(name, [scripts[name]], **more)
            assert time.monotonic() < end, self.processes[waiting[0]].said
            time.sleep(0.2)

    def stop_client(self, client: str) -> None:
        """End a SuperNode in good order: the server knows at once that it has left."""
        self.processes.pop(client).end()

    def only(self, *clients: str) -> None:
        """See that these clients are there and no others."""
        for name in set(CLIENTS) - set(clients):
            if name in self.processes:
                self.stop_client(name)
        self.start_clients(*(name for name in clients if name not in self.processes))

    def configure(self, config: Config) -> None:
        """Give the server another experiment, for the runs that are started from now on."""
        text = dump_config(config)
        (self.folder / "server" / "config.toml").write_text(text, encoding="utf-8")

    def start_run(self, name: str) -> Path:
        """Start a run, or go on with it, and return its folder."""
        self._start("run", [self.folder / "server" / "run.sh", name])
        return self.folder / "server" / "runs" / name

    def stop_run(self) -> None:
        """Stop the run as its operator would, who is told that it has not come to its end."""
        run = self.processes.pop("run")
        done = carried_out([self.folder / "server" / "stop.sh"])
        assert done.returncode == 0, done.stderr
        assert run.popen.wait(60.0) == 1 and "resumes it" in run.said, run.said

    def kill(self, process: str) -> None:
        """End a process and all that it has started at once, as when its machine fails."""
        gone = self.processes.pop(process)
        os.killpg(gone.popen.pid, signal.SIGKILL)
        gone.popen.wait(10.0)

    def wait_for_end(self, run: Path) -> None:
        """Wait until a run has its summary, and give Flower time to take note of its end."""
        process = self.processes["run"]
        wait_until((run / "summary.json").is_file, SLOW, process.log)
        with suppress(subprocess.TimeoutExpired):
            process.popen.wait(30.0)

    def wait_for_word(self, process: str, words: str, count: int = 1) -> None:
        """Wait until a process has said something so many times."""
        log = self.processes[process]
        wait_until(lambda: log.said.count(words) >= count, SLOW, f"{count} {words!r}: {log.log}")

    def wait_for(self, run: Path, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait until so many events of a kind are there, and return the last of them."""
        log = self.processes["run"].log
        wait_until(lambda: len(of_kind(run, kind)) >= count, SLOW, f"{count} {kind}, see {log}")
        return of_kind(run, kind)[count - 1]

    def end(self) -> None:
        for process in reversed(list(self.processes.values())):
            process.end()

    def _start(
        self, name: str, command: list[str | Path], port: int | None = None, **more: str
    ) -> None:
        log = self.base / f"{name}.log"
        self.processes[name] = Process(command, log, **{**self.more, **more})
        if port is not None:
            wait_until(lambda: is_open(port), 60.0, log)


def of_kind(run: Path, kind: str) -> list[dict[str, Any]]:
    """Return a run's events of a kind so far; a line that is being written is left out."""
    path = run / "events.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


@contextmanager
def deployed(base: Path, config: Config, **more: str) -> Iterator[Deployment]:
    """Give a deployment whose server is up and knows all clients, none of which is there.

    ``more`` is added to the environment of all its processes.
    """
    deployment = Deployment(base, config, **more)
    try:
        deployment.start_server()
        deployment.register()
        yield deployment
    finally:
        deployment.end()
