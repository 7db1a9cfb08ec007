"""Flower's simulation: all clients on this machine, in processes that Ray starts and that end here.

Flower's own ``run_simulation`` is used inside this process, since ``flwr run`` leaves a SuperLink
behind.
"""

import logging
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from io import StringIO
from math import inf
from pathlib import Path
from queue import Queue

import psutil
import ray
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.server.superlink.fleet.vce.backend.backend import BackendConfig
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from fedbridge.core.errors import UserError
from fedbridge.core.files import file_name
from fedbridge.federation.flower.transport import FlowerTransport
from fedbridge.federation.setup import Setup, workers_of
from fedbridge.methods.files import dump_config
from fedbridge.runs.flower_app import Place, client_app_of, server_worker_pool
from fedbridge.runs.run import CLIENTS, Run

ACTOR = "ray::ClientApp"
"""What the names of processes that work for clients begin with."""
PATIENCE = 10.0
"""Seconds that Ray's processes have to end."""


@contextmanager
def connect_simulated(run: Run, setup: Setup) -> Iterator[FlowerTransport]:
    """Simulate the experiment's clients and give the transport to them; then end all."""
    names = tuple(setup.models)
    place = partial(simulated, names, run.folder.resolve() / CLIENTS, dump_config(run.config))
    patient = setup.config.engine.model_copy(update={"deadline": inf, "quorum": "all"})
    with (
        _simulation(client_app_of(place), len(names), _resources(setup)) as grid,
        FlowerTransport(grid, run, patient, server_worker_pool(setup)) as transport,
    ):
        yield transport


def simulated(names: tuple[str, ...], folder: Path, config: str, context: Context) -> Place:
    """Return the place of a virtual SuperNode: the k-th is the k-th client."""
    client = names[int(context.node_config["partition-id"])]
    return Place(client, folder / file_name(client), config)


@dataclass(frozen=True)
class _Running:
    """A grid that fails once its simulation has ended, instead of waiting for ever."""

    grid: Grid
    thread: threading.Thread

    def get_node_ids(self) -> Iterable[int]:
        return self._alive().get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._alive().push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._alive().pull_messages(message_ids)

    def _alive(self) -> Grid:
        if not self.thread.is_alive():
            raise UserError(
                "engine.kind: Flower's simulation has ended by itself; go on with fedbridge resume"
            )
        return self.grid


def _resources(setup: Setup) -> tuple[int, float]:
    """Return how many clients may learn at once, and the accelerators that one of them takes."""
    workers = max(1, workers_of(setup.config, setup.shared.device))
    return workers, float(setup.shared.device.type == "cuda")


@contextmanager
def _simulation(app: ClientApp, count: int, resources: tuple[int, float]) -> Iterator[_Running]:
    """Run Flower's simulation in a thread beside this one, and give its grid."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    handed: Queue[Grid | BaseException] = Queue()
    over = threading.Event()
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        handed.put(grid)
        over.wait()

    def work() -> None:
        try:
            needs: BackendConfig = {"client_resources": {"num_cpus": 1, "num_gpus": resources[1]}}
            run_simulation(server, app, count, backend_config=needs)
        except BaseException as error:  # whatever it is, the other thread waits for it
            handed.put(error)

    with _ray(resources[0]) as folder:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            grid = handed.get()
            if isinstance(grid, BaseException):
                raise UserError(f"engine.kind: Flower's simulation does not start: {grid}")
            yield _Running(grid, thread)
        except BaseException:
            with redirect_stdout(StringIO()):  # Ray wonders at length why they died
                _end_clients(folder)
                _end(folder, over, thread)
            raise
        _end(folder, over, thread)


def _end(folder: str, over: threading.Event, thread: threading.Thread) -> None:
    """Shut Ray down through Flower, and ensure that all of its processes have ended."""
    ours = _processes_of(folder)
    over.set()
    thread.join()
    _outlive(ours)


@contextmanager
def _ray(processors: int) -> Iterator[str]:
    """Start Ray in a temporary folder of its own, and see that all of it is gone afterwards."""
    folder = tempfile.mkdtemp(prefix="fb-")  # short, for sockets must have short names
    stop = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            num_cpus=processors,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            _temp_dir=folder,
        )
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, stop)  # Ray would abort at once and leave all behind
        yield folder
    finally:
        ours = _processes_of(folder)
        ray.shutdown()
        _outlive(ours)
        shutil.rmtree(folder, ignore_errors=True)


def _processes_of(folder: str) -> list[psutil.Process]:
    """Return the processes that Ray has started with a folder, and those that they started."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any(folder in word for word in child.cmdline()):
                found += [child, *child.children(recursive=True)]
    return found


def _end_clients(folder: str) -> None:
    """End the clients' processes amid their work, whose results are no longer needed."""
    for process in _processes_of(folder):
        with suppress(psutil.Error):
            if process.name().startswith(ACTOR):
                process.kill()


def _outlive(processes: list[psutil.Process]) -> None:
    """Ensure that processes which are about to end do so."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=PATIENCE)
