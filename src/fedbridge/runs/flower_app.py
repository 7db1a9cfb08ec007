"""The two apps that Flower runs: one at the server, one at every client."""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flwr.app import Context, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedbridge.client.client import FederatedClient
from fedbridge.client.disk import Resident
from fedbridge.config.files import parse_toml
from fedbridge.core.errors import CommonConfigError, UserError
from fedbridge.federation.agreement import agreement, doubts_about_client
from fedbridge.federation.embeddings import EmbeddingStore
from fedbridge.federation.flower.node_keys import impostor
from fedbridge.federation.flower.records import to_record, to_request
from fedbridge.federation.flower.requests import IDLE
from fedbridge.federation.flower.roster import introduction
from fedbridge.federation.flower.transport import FlowerTransport
from fedbridge.federation.setup import Setup, prepare, worker_state_of, workers_of
from fedbridge.federation.site import at_site, require_allowed, site_client, site_of, small_at_site
from fedbridge.federation.workers import WorkerPool, WorkerState, hold_memory, use_threads
from fedbridge.methods.changes import changes
from fedbridge.methods.config import Config
from fedbridge.methods.files import parse_config
from fedbridge.runs.live import told
from fedbridge.runs.run import CONFIG, Run, exclusive_lock, is_finished, lock_of
from fedbridge.runs.runner import Experiment
from fedbridge.runs.tracking import tracking
from fedbridge.wire import Answer, encode

log = logging.getLogger(__name__)


STAYS = "its site cannot; the reason stands in the log of its SuperNode"
PATIENCE = 60.0
"""Seconds that an app whose SuperLink was killed has to end, before another goes on for it."""


class Place(NamedTuple):
    """Which client lives here, where its state is kept, and the experiment's config as TOML."""

    client: str
    folder: Path
    config: str
    site: Path | None = None
    """The site's own config, where the site has one."""
    deployed: bool = False
    """Whether the client is on a machine of its own, and must show that both sides agree."""


def serve(grid: Grid, context: Context) -> None:
    """Carry out an experiment, from its start or its newest checkpoint; clients are SuperNodes.

    The run config has the experiment's ``config`` as TOML, the ``run``'s folder, and as ``nodes``
    the folder of the clients' keys; without it clients' names are taken on trust.
    """
    config = _config(_setting(context.run_config, "config", "run config"))
    folder = Path(_setting(context.run_config, "run", "run config"))
    nodes = str(context.run_config.get("nodes") or "")
    with exclusive_lock(folder, PATIENCE, lock=(lock := lock_of(folder))):
        run = _run_in(folder, config)
        if is_finished(folder):
            print(f"{folder}: this run is finished", flush=True)
            return
        connect = partial(connect_by, grid, run, Path(nodes) if nodes else None)
        experiment = Experiment(run, connect=connect, lock=lock)
        with tracking(run) as track, told(experiment, partial(print, flush=True)) as say:
            for progress in experiment.run_steps():
                say(progress)
                track(progress)


def _run_in(folder: Path, config: Config) -> Run:
    """Return the run that was started in a folder, or start one."""
    there = (folder / CONFIG).is_file()
    run = Run.open(folder) if there else Run.create(folder, config, deployed=True)
    if run.config != config or not run.deployed:
        found = "; ".join(changes(run.config, config)) or "of the engine, or of what tracks it"
        kind = f"has other settings ({found})"
        kind = kind if run.deployed else "was not started by a deployment"
        raise UserError(f"{folder}: this run {kind}; choose another folder: ./run.sh NAME")
    return run


def connect_by(grid: Grid, run: Run, nodes: Path | None, setup: Setup) -> FlowerTransport:
    """Return the transport over a grid to a deployment's clients; ``nodes`` tells their keys."""

    def check(node: int, name: str, presented: bytes) -> list[str]:
        foreign = impostor(nodes, node, name) if nodes else []
        return foreign or doubts_about_client(setup.config, presented)

    return FlowerTransport(grid, run, setup.config.engine, server_worker_pool(setup), doubts=check)


def server_worker_pool(setup: Setup) -> WorkerPool:
    """Return the processes in which the server fuses."""
    build = partial(server_worker_state, setup.config, setup.store)
    workers = workers_of(setup.config, setup.shared.device)
    return WorkerPool(build, tuple(setup.models), workers, setup.config.engine.threads)


@functools.cache
def resident(place: Place) -> Resident:
    """Return the client of this process; what it needs is built when it is first asked."""
    config = _common(place)
    use_threads(config.engine.threads)
    hold_memory()

    def build() -> FederatedClient:
        if place.deployed or place.site is not None:
            return site_client(config, place.client, place.site)
        return worker_state_of(_setup(place.config), (place.client,)).clients[place.client]

    keep = config.engine.checkpoints + 1
    return Resident(place.client, build, place.folder, keep, place.config)


def client_app_of(
    place_of: Callable[[Context], Place], resident_of: Callable[[Place], Resident] = resident
) -> ClientApp:
    """Return the app of a client; ``place_of`` gives its name and its folder."""
    app = ClientApp()

    @app.query()
    def who(message: Message, context: Context) -> Message:
        place = place_of(context)
        try:
            with _discreetly(place):
                said = introduction(place.client, _presented(place))
        except UserError as error:
            said = introduction(place.client, refusal=_told(place, error))
        return Message(said, reply_to=message)

    @app.query(IDLE)
    def idle(message: Message, context: Context) -> Message:
        return Message(RecordDict(), reply_to=message)

    @app.train()
    def exchange(message: Message, context: Context) -> Message:
        place = place_of(context)
        request = to_request(message.content)
        try:
            with _discreetly(place):
                answer = resident_of(place).answer(request)
        except UserError as error:  # it would come again; anything else may be worth a try
            answer = Answer(place.client, request.number, refusal=_told(place, error))
        return Message(to_record(answer), reply_to=message)

    return app


def deployed_client(context: Context) -> Place:
    """Return a SuperNode's place, as its own node config says.

    That has its ``client`` and its ``state`` folder, and the ``site``'s config if there is one.
    """
    client = _setting(context.node_config, "client", "node config")
    folder = Path(_setting(context.node_config, "state", "node config"))
    site = context.node_config.get("site")
    own = Path(_setting(context.node_config, "site", "node config")) if site is not None else None
    config = _setting(context.run_config, "config", "run config")
    return Place(client, folder, config, own, deployed=True)


def _told(place: Place, error: Exception) -> str:
    """Return what is sent to the server about an error.

    Of a site's own, which may name its files, classes or rows, nothing is sent: they stay in the
    log of its SuperNode.
    """
    if not place.deployed or isinstance(error, CommonConfigError):
        return str(error)
    log.error("%s: %s", place.client, error, exc_info=not isinstance(error, UserError))
    return STAYS


@contextmanager
def _discreetly(place: Place) -> Iterator[None]:
    """Keep the words of an unexpected error at the site; Flower would tell them to the server."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not place.deployed:
            raise
        raise RuntimeError(_told(place, error)) from None


def _presented(place: Place) -> bytes:
    if not place.deployed:
        return b""
    config = _common(place)
    site_of(config, place.client, place.site)
    small_at_site(config, place.client, place.site)
    said, _ = agreement(at_site(config, place.site))
    return encode(replace(said, client=place.client))


@functools.cache
def _setup(text: str) -> Setup:
    return prepare(_config(text))


def _common(place: Place) -> Config:
    """Return the common config; a site looks first at whose methods it names."""
    if place.deployed or place.site is not None:
        require_allowed(parse_toml(place.config, "run config: config"), place.site)
    return _config(place.config)


def _config(text: str) -> Config:
    return parse_config(parse_toml(text, "run config: config"), "run config")


def _setting(settings: UserConfig, key: str, where: str) -> str:
    value = settings.get(key)
    if not isinstance(value, str) or not value:
        raise UserError(f"{where}: {key} must be given as a text, found {value!r}")
    return value


def server_worker_state(
    config: Config, store: EmbeddingStore, names: tuple[str, ...]
) -> WorkerState:
    """Build what the server's processes hold: the context and no client."""
    return WorkerState(prepare(config, store).shared, {})


server_app = ServerApp()
server_app.main()(serve)
client_app = client_app_of(deployed_client)
