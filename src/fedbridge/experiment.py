"""The composition root: build all parts, drive the loop, evaluate, store."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedbridge.client.client import Client
from fedbridge.client.private import Private
from fedbridge.config import SITE, Config
from fedbridge.data import load_data
from fedbridge.data.dataset import Dataset
from fedbridge.data.noting import note_data
from fedbridge.data.public import PublicSet, check_public, items_at, public_set
from fedbridge.data.scenario import Elsewhere, Streams, build_scenario
from fedbridge.data.site.preparing import Frame
from fedbridge.data.splits import Indices
from fedbridge.data.store import cache_folder
from fedbridge.engine.hosts import Crew
from fedbridge.engine.local import LocalTransport
from fedbridge.engine.loop import Transport, federate, steps
from fedbridge.errors import UserError
from fedbridge.metrics import PREDICTORS, AccuracyRow, summarise
from fedbridge.models.commons import Commons
from fedbridge.models.embeddings import EmbeddingStore, embed_dataset, no_embeddings
from fedbridge.models.foundation import load_foundation
from fedbridge.models.head import Lift
from fedbridge.models.space import anchors, build_small, stored
from fedbridge.models.tuning import require_tunable, tunable
from fedbridge.runs import CONFIG, Run, read_accuracy
from fedbridge.server.fusions import require_pictures
from fedbridge.server.server import Server
from fedbridge.server.warm import warm_start
from fedbridge.wire import State, Step

Tell = Callable[[int, int], None]
"""Is told (done, wanted) while the FM encodes items."""


@dataclass(frozen=True)
class Site:
    """All data of an experiment in one place, as only a simulation has it."""

    config: Config
    dataset: Dataset
    streams: Streams
    store: EmbeddingStore
    commons: Commons

    @property
    def models(self) -> dict[str, str]:
        """Return each client's entry of SMALL_MODELS."""
        known = self.config.small.models
        names = [stream.name for stream in self.streams.clients]
        return {name: known[k % len(known)] for k, name in enumerate(names)}

    def present(self, client: str, step: Step) -> bool:
        """Say whether a client takes part in a step; all are there before the first one."""
        (stream,) = (s for s in self.streams.clients if s.name == client)
        return step.task == 0 or stream.takes_part(*step, self.config.training.rounds)


@dataclass
class Progress:
    """What a run has to tell after a step."""

    step: Step
    done: int
    total: int
    rows: list[AccuracyRow]

    def accuracy(self) -> str:
        """Return the mean class-incremental accuracy so far on past tasks, as a line."""
        latest = {row.client: row.after_task for row in self.rows}
        past = [
            r
            for r in self.rows
            if r.after_task == latest[r.client] >= r.on_task and r.protocol == "class-incremental"
        ]
        means = {
            p: [r.accuracy for r in past if r.predictor == p] for p in dict.fromkeys(PREDICTORS)
        }
        parts = [f"{p} {100 * sum(a) / len(a):.1f}" for p, a in means.items() if a]
        return ", ".join(parts) + " %" if parts else ""


def device_of(name: str) -> torch.device:
    """Return the device that a setting names; raise UserError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"engine.device: must be auto, cpu or cuda, found {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"engine.device: no CUDA device is there, found {name!r}")
    return device


def workers_of(config: Config, device: torch.device) -> int:
    """Return the number of worker processes that the settings ask for."""
    if config.engine.workers != "auto":
        return min(config.engine.workers, config.scenario.clients)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    useful = min(cores or 1, config.scenario.clients)
    return useful if device.type == "cpu" and useful > 1 else 0


def plan(config: Config) -> tuple[Dataset, Streams]:
    """Load the data set and build the streams; raise UserError before anything costly.

    Where the data lie at sites, the data set is empty and the streams are names.
    """
    check_public(config.data)
    require_tunable(config.large)
    require_pictures(config)
    if config.data.clients is not None:
        clients = tuple(Elsewhere(name, ()) for name in config.data.clients)
        return Frame.of(config).empty(), Streams(np.zeros(0, np.int64), clients)
    dataset = load_data(config.data)
    require_pictures(config, dataset.modality)
    return dataset, build_scenario(dataset, config.scenario, config.seed)


def check_models(config: Config, dataset: Dataset) -> None:
    """Build every architecture once; raise UserError if one is unknown or cannot read the data."""
    for model in sorted(set(config.small.models)):
        build_small(model, tuple(dataset.inputs.shape[1:]), config.small.dimension, config.seed)


def prepare(config: Config, store: EmbeddingStore | None = None, tell: Tell | None = None) -> Site:
    """Build all that clients and server need; embeddings that are missing are computed."""
    dataset, streams = plan(config)
    public = public_set(config.data, dataset, streams, config.seed)
    if store is None:
        check_models(config, dataset)
        if config.large.tuning != "none":  # its first words may be a refusal
            fm = tunable(config.large, device_of(config.engine.device), config.seed)
            fm.encode(public.items[:1], 1)
        store = _encoded(config, dataset, streams, public, tell)
    commons = commons_of(config, dataset, public, store.public)
    return Site(config, dataset, streams, store, commons)


def _encoded(
    config: Config, dataset: Dataset, streams: Streams, public: PublicSet, tell: Tell | None
) -> EmbeddingStore:
    large = config.large
    if large.head == "none":
        nothing = no_embeddings(len(dataset))
        return replace(nothing, public=np.zeros((len(public.rows), 1), np.float32))
    device = device_of(config.engine.device)
    fm = load_foundation(large.model, large.size, device, config.engine.precision)

    def encoded(of: Dataset, rows: Indices) -> EmbeddingStore:
        return embed_dataset(fm, of, rows, cache_folder(), large.batch, tell)

    same = public.dataset is dataset
    own = used_items(streams, same)
    if large.tuning != "none":  # clients encode theirs themselves, in every round
        own = np.intersect1d(own, streams.public)
    store = encoded(dataset, own) if len(dataset) else no_embeddings(0)
    about = store if same else encoded(public.dataset, public.rows)
    return replace(store, public=about[public.rows])


def commons_of(
    config: Config, dataset: Dataset, public: PublicSet, embeddings: NDArray[np.float32]
) -> Commons:
    """Return what all sides hold in common; ``embeddings (|U|, D)`` are the FM's of U."""
    device = device_of(config.engine.device)
    lift = Lift.fit(embeddings, config.large.projection, config.seed)
    return Commons(
        config=config,
        classes=dataset.classes,
        input_shape=tuple(dataset.inputs.shape[1:]),
        anchors=anchors(dataset.classes, config.small.dimension, config.seed).to(device),
        public_inputs=stored(public.inputs).to(device),
        public_features=lift(embeddings),
        lift=lift,
        device=device,
        public_items=None if config.large.tuning == "none" else public.items,
    )


def used_items(streams: Streams, public: bool = True) -> Indices:
    """Return every item that some stream uses, or this data set's public set, ascending."""
    tasks = [task for client in streams.clients for task in client.tasks]
    parts = [part for t in tasks for part in (t.train, t.validation, t.test)]
    common = streams.public if public else streams.public[:0]
    return np.unique(np.concatenate([common, *parts]))


def build_crew(config: Config, store: EmbeddingStore, names: tuple[str, ...]) -> Crew:
    """Build some of the clients with their private data, in any process.

    Raises UserError if the data lie at sites, each of which builds its own client.
    """
    if config.data.name == SITE:
        raise UserError(
            "data.name: must be a data set that is here for the local engine, found 'site'"
        )
    return crew_of(prepare(config, store), names)


def crew_of(site: Site, names: tuple[str, ...]) -> Crew:
    """Build some of the clients of an experiment whose data are all here."""
    clients = {}
    for stream in site.streams.clients:
        if stream.name in names:
            private = Private(
                stream,
                lambda rows: stored(site.dataset.inputs[rows]),
                lambda rows: site.commons.lift(site.store[rows]),
                site.dataset.labels,
                lambda rows: items_at(site.dataset, rows),
            )
            clients[stream.name] = Client(private, site.commons, site.models[stream.name])
    return Crew(site.commons, clients)


Connect = Callable[[Site], AbstractContextManager[Transport]]
"""Gives the transport to an experiment's clients, which it may have to start."""


def connect_locally(site: Site) -> LocalTransport:
    """Host all clients on this machine, as the settings say."""
    build = partial(build_crew, site.config, site.store)
    workers = workers_of(site.config, site.commons.device)
    return LocalTransport(build, tuple(site.models), workers, site.config.engine.threads)


class Experiment:
    """One run, from its start or from its newest checkpoint."""

    def __init__(
        self, run: Run, tell: Tell | None = None, connect: Connect = connect_locally
    ) -> None:
        self.run = run
        self.connect = connect
        self.config = run.config
        self.tell = tell
        self.rows: list[AccuracyRow] = []
        self.seconds: dict[str, float] = {}
        self.bytes_up = 0
        self.bytes_down = 0
        self.prepared = False
        """Whether the data and models have been accepted, so that the run could begin."""
        self.refused = 0
        self._mark = time.monotonic()

    def conduct(self) -> Iterator[Progress]:
        """Carry the run out; yield after every step, when its state is safe on disk.

        Raises UserError if another process is at it.
        """
        with alone(self.run.folder):
            yield from self._conduct()

    def _conduct(self) -> Iterator[Progress]:
        site = prepare(self.config, tell=self.tell)
        note_data(self.run, site.dataset)
        self.prepared = True
        self._lap("prepare")
        todo = steps(self.config)
        with self.connect(site) as transport:
            self._lap("prepare")
            server = Server(site.commons, site.models, transport.spread, site.present)
            done = self._restore(server, transport)
            if not done:
                server.states = self._warm(site)
                self._evaluate(server, transport, Step(0, self.config.training.rounds))
            for step in federate(server, transport, todo[done:]):
                done += 1
                self._log(step, server, transport)
                self._evaluate(server, transport, step)
                self._checkpoint(done, server, transport)
                yield Progress(step, done, len(todo), self.rows)
            self._summarise(site, transport)

    def _warm(self, site: Site) -> dict[str, State]:
        if self.config.small.start == "scratch":
            return {}
        states = {m: warm_start(site.commons, m) for m in sorted(set(site.models.values()))}
        self._lap("warm")
        return {client: states[model] for client, model in site.models.items()}

    def _evaluate(self, server: Server, transport: Transport, step: Step) -> None:
        """Have clients measure when a task has ended, and take in what has been measured."""
        if step.round == self.config.training.rounds:
            last = step.task == self.config.scenario.slots
            transport.evaluate(server.broadcast(step), last)
        if taken := transport.take_evaluations():
            self.rows += [
                AccuracyRow(e.client, e.after_task, *row) for e in taken for row in e.rows
            ]
            names = list(server.models)
            self.rows.sort(key=lambda row: names.index(row.client))  # whoever came first
            self.run.write_accuracy(self.rows)
        self._lap("evaluate")

    def _log(self, step: Step, server: Server, transport: Transport) -> None:
        bytes_up, bytes_down, learning = transport.take_traffic()
        total = self._lap("learn")
        self.seconds["learn"] -= total - learning
        self.seconds["fuse"] = self.seconds.get("fuse", 0.0) + total - learning
        self.bytes_up += bytes_up
        self.bytes_down += bytes_down
        place = {"task": step.task, "round": step.round}
        traffic = {"bytes_up": bytes_up, "bytes_down": bytes_down}
        self.run.event("round", **place, seconds=round(total, 3), **traffic)
        for record in server.taught:
            self.run.event("taught", **place, **record._asdict())
        refused = [*transport.take_refused(), *server.refused]
        self.refused += len(refused)
        for one in refused:
            self.run.event("refused", **place, **one._asdict())

    def _checkpoint(self, done: int, server: Server, transport: Transport) -> None:
        with self.run.checkpoint(done) as folder:
            server.save(folder)
            transport.save(folder)
            traffic = {"bytes_up": self.bytes_up, "bytes_down": self.bytes_down}
            state = {"done": done, **traffic, "refused": self.refused, "seconds": self.seconds}
            text = json.dumps(state)
            (folder / "experiment.json").write_text(text, encoding="utf-8")
        self._lap("save")

    def _restore(self, server: Server, transport: Transport) -> int:
        folder = self.run.latest_checkpoint()
        if folder is None:
            return 0
        server.load(folder)
        transport.load(folder)
        state = json.loads((folder / "experiment.json").read_text(encoding="utf-8"))
        self.bytes_up, self.bytes_down = state["bytes_up"], state["bytes_down"]
        self.refused, self.seconds = state.get("refused", 0), state["seconds"]
        self.rows = read_accuracy(folder)
        self._lap("prepare")
        return int(state["done"])

    def _summarise(self, site: Site, transport: Transport) -> None:
        results = summarise(self.rows)
        large = results.get("large", {}).get("class-incremental", {})
        summary = {
            "method": self.config.name,
            "seed": self.config.seed,
            "clients": list(site.models),
            "tasks": self.config.scenario.slots,
            "models": site.models,
            "large": self.config.large.model if large else "none",
            "data": self.config.data.title,
            "results": results,
            "temporal_retention": results["small"]["class-incremental"]["temporal_retention"],
            "spatial_retention": large.get("spatial_retention"),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            "refused": self.refused,
            "seconds": {phase: round(s, 3) for phase, s in self.seconds.items()},
            "peak_memory_mib": round(transport.peak_memory_mib(), 1),
        }
        self.run.write_summary(summary)

    def _lap(self, phase: str) -> float:
        """Add the time since the last lap to a phase and return it."""
        now = time.monotonic()
        spent, self._mark = now - self._mark, now
        self.seconds[phase] = self.seconds.get(phase, 0.0) + spent
        return spent


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process at work in a run's folder; the lock goes when the process does.

    Raises UserError if another one is at work.
    """
    with (folder / CONFIG).open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another process is carrying out this run; let it end first"
            ) from error
        yield
