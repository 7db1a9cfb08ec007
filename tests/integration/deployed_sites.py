"""A whole deployment on loopback, as ``fedbridge deploy init`` writes it, and its processes."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servers import Process, carried_out, free_ports, is_open, wait_until

from fedbridge.config import Config, dump_config
from fedbridge.deploy import folder as deploy
from fedbridge.deploy.agreement import common_files
from fedbridge.deploy.settings import ServerSettings

ACCEPTED = "SuperNode ID: "
SLOW = 300.0
"""Seconds after which what is waited for is not going to come."""
CLIENTS = ("client-1", "client-2", "client-3")


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

    def start_client(self, client: str, **more: str) -> None:
        """Start a SuperNode, as a service is: again until the server has missed the one before."""
        end = time.monotonic() + 150.0
        while True:
            self._start(client, [self.site(client) / "start.sh"], **more)
            node = self.processes[client]
            gone = node.popen.poll
            wait_until(lambda: ACCEPTED in node.said or gone() is not None, 60.0, node.log)  # noqa: B023
            if gone() is None:
                return
            node.end()
            assert time.monotonic() < end, node.said

    def start_run(self, name: str) -> Path:
        """Start a run, or go on with it, and return its folder."""
        self._start("run", [self.folder / "server" / "run.sh", name])
        return self.folder / "server" / "runs" / name

    def kill(self, process: str) -> None:
        """End a process and all that it has started at once, as when its machine fails."""
        gone = self.processes.pop(process)
        os.killpg(gone.popen.pid, signal.SIGKILL)
        gone.popen.wait(10.0)

    def wait_for_end(self, run: Path) -> None:
        wait_until((run / "summary.json").is_file, SLOW, self.processes["run"].log)

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
