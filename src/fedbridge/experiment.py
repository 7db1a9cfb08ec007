"""The composition root: build all parts, drive the loop, evaluate, store."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedbridge.checkpoints import taking_up
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
from fedbridge.engine.loop import Tell, Transport, federate, steps
from fedbridge.entries import foreign_errors
from fedbridge.errors import UserError
from fedbridge.files import read_json
from fedbridge.locks import Lock
from fedbridge.metrics import summarise
from fedbridge.models.commons import Commons
from fedbridge.models.device import device_of
from fedbridge.models.embeddings import EmbeddingStore, embed_dataset, no_embeddings, try_on
from fedbridge.models.foundation import FoundationModel, foundation_of
from fedbridge.models.head import Lift
from fedbridge.models.proof import FEW
from fedbridge.models.space import anchors, stored
from fedbridge.models.trial import check_models
from fedbridge.models.tuning import require_tunable, tunable
from fedbridge.plane import drawn
from fedbridge.progress import Progress
from fedbridge.runs import Run, alone, lock_of, read_accuracy
from fedbridge.server.admission import Refused
from fedbridge.server.diverging import cold
from fedbridge.server.fusions import require_pictures
from fedbridge.server.knowledge import Noted
from fedbridge.server.measurements import Measurements
from fedbridge.server.server import Server
from fedbridge.server.warm import tried_warm_start
from fedbridge.wire import State, Step

DRAWN = 600
"""Test items whose embeddings are drawn at a run's end, shared out among the clients."""

Embed = Callable[[FoundationModel, Dataset, Indices, Path, int], EmbeddingStore]
"""Gives the embeddings of some items of a data set, as ``embed_dataset`` does."""


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
        """Return each client's small model, as ``small.models`` names it."""
        return models_of(self.config, self.streams)

    def present(self, client: str, step: Step) -> bool:
        """Say whether a client takes part in a step; all are there before the first one."""
        (stream,) = (s for s in self.streams.clients if s.name == client)
        return step.task == 0 or stream.takes_part(*step, self.config.training.rounds)


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


def models_of(config: Config, streams: Streams) -> dict[str, str]:
    """Return each client's small model, as ``small.models`` names it."""
    known = config.small.models
    return {stream.name: known[k % len(known)] for k, stream in enumerate(streams.clients)}


def prepare(
    config: Config,
    store: EmbeddingStore | None = None,
    tell: Tell | None = None,
    models: Iterable[str] | None = None,
    fm: FoundationModel | None = None,
    embed: Embed | None = None,
) -> Site:
    """Build all that clients and server need; embeddings that are missing are computed.

    ``models`` are the small models that are to be built here, all of the config by default;
    ``fm`` is the config's FM, where it is loaded already. ``embed`` takes the place of
    ``embed_dataset`` for whoever does not need every embedding.
    """
    dataset, streams = plan(config)
    public = public_set(config.data, dataset, streams, config.seed)
    if store is None:
        check_models(config.small.models if models is None else models, dataset.inputs.shape[1:])
        if config.large.tuning != "none":  # its first words may be a refusal
            tuned = tunable(config.large, device_of(config.engine.device), config.seed)
            with foreign_errors(config.large.model):
                tuned.encode(public.items[:FEW], config.large.batch)
        embed = embed or partial(embed_dataset, progress=tell)
        store = _encoded(config, dataset, streams, public, fm, embed)
    commons = commons_of(config, dataset, public, store.public)
    return Site(config, dataset, streams, store, commons)


def _encoded(
    config: Config,
    dataset: Dataset,
    streams: Streams,
    public: PublicSet,
    fm: FoundationModel | None,
    embed: Embed,
) -> EmbeddingStore:
    large = config.large
    if large.head == "none":
        nothing = no_embeddings(len(dataset))
        return replace(nothing, public=np.zeros((len(public.rows), 1), np.float32))
    fm = fm or foundation_of(config)

    def encoded(of: Dataset, rows: Indices) -> EmbeddingStore:
        try_on(fm, of, cache_folder(), large.batch)
        return embed(fm, of, rows, cache_folder(), large.batch)

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
            private = private_of(site, stream.name)
            clients[stream.name] = Client(private, site.commons, site.models[stream.name])
    return Crew(site.commons, clients)


def private_of(site: Site, name: str) -> Private:
    """Return what a client of an experiment whose data are all here has of its own."""
    (stream,) = (one for one in site.streams.clients if one.name == name)
    return Private(
        stream,
        lambda rows: stored(site.dataset.inputs[rows]),
        lambda rows: site.commons.lift(site.store[rows]),
        site.dataset.labels,
        lambda rows: items_at(site.dataset, rows),
    )


Connect = Callable[[Site], AbstractContextManager[Transport]]
"""Gives the transport to an experiment's clients, which it may have to start."""


def connect_locally(site: Site) -> LocalTransport:
    """Host all clients on this machine, as the settings say."""
    workers = workers_of(site.config, site.commons.device)
    # worker processes load the data themselves, which is quicker than to send them
    build = partial(build_crew, site.config, site.store) if workers else partial(crew_of, site)
    return LocalTransport(build, tuple(site.models), workers, site.config.engine.threads)


class Experiment:
    """One run, from its start or from its newest checkpoint."""

    def __init__(
        self,
        run: Run,
        tell: Tell | None = None,
        connect: Connect = connect_locally,
        lock: Lock | None = None,
    ) -> None:
        """Take the lock of the run's folder, where whoever calls holds it already."""
        self.run = run
        self.connect = connect
        self._lock = lock or lock_of(run.folder)
        self.config = run.config
        self.tell = tell
        self.seconds: dict[str, float] = {}
        self.bytes_up = 0
        self.bytes_down = 0
        self.prepared = False
        """Whether the data and models have been accepted, so that the run could begin."""
        self.refused = 0
        self._mark = self._saved = time.monotonic()

    def conduct(self) -> Iterator[Progress]:
        """Carry the run out; yield after every step, when a checkpoint that was due is written.

        Raises UserError if another process is at it.
        """
        with alone(self.run.folder, lock=self._lock), self.run.noting_failure():
            self.run.note_unread()
            yield from self._conduct()

    def _conduct(self) -> Iterator[Progress]:
        site = prepare(self.config, tell=self.tell)
        public = site.commons.public_inputs.cpu().numpy()
        note_data(self.run, site.dataset, site.streams, public)
        self.prepared = True
        self._lap("prepare")
        todo = steps(self.config)
        with self.connect(site) as transport:
            self._lap("prepare")
            server = Server(site.commons, site.models, transport.spread, site.present)
            self.measured = Measurements(self.config, site.models)
            done = self._restore(server, transport)
            if not done:
                server.states = self._warm(site, transport)
                self._evaluate(server, transport, Step(0, self.config.training.rounds))
            for step in federate(server, transport, todo[done:]):
                done += 1
                self._log(step, server, transport)
                self._evaluate(server, transport, step)
                if done == len(todo) or self._is_due():
                    self._checkpoint(done, server, transport)
                traffic = self.bytes_up, self.bytes_down
                rows = [*self.measured.rows]
                yield Progress(step, done, len(todo), rows, *traffic, self.refused)
            self._draw(site, transport)
            self._summarise(site, transport)

    def _warm(self, site: Site, transport: Transport) -> dict[str, State]:
        if not self.config.starts_warm:
            return {}
        models = sorted(set(site.models.values()))
        found = dict(zip(models, transport.spread(tried_warm_start, models), strict=True))
        self._lap("warm")
        gone = [(client, m, found[m][1]) for client, m in site.models.items() if found[m][1]]
        self._note(Step(0, 0), [cold(self.config, *one) for one in gone])
        return {client: found[m][0] for client, m in site.models.items() if not found[m][1]}

    def _evaluate(self, server: Server, transport: Transport, step: Step) -> None:
        """Have clients measure when a task has ended, and take in what has been measured."""
        if step.round == self.config.training.rounds:
            last = step.task == self.config.scenario.slots
            transport.evaluate(server.broadcast(step), last)
        if taken := transport.take_evaluations():
            self._refuse(step, self.measured.take(taken, step.task))
            for client, choice in self.measured.take_choices():
                self.run.event("accepted", client=client, **choice._asdict())
            self._note(step, self.measured.take_noted())
            self.run.write_accuracy(self.measured.rows)
        self._refuse(step, transport.take_refused())
        self._lap("evaluate")

    def _draw(self, site: Site, transport: Transport) -> None:
        """Keep a picture of the shared space, where all clients are here anyway."""
        if samples := transport.sample(max(1, DRAWN // len(site.models))):
            anchors = site.commons.anchors.cpu().numpy()
            if picture := drawn(samples, anchors, site.commons.classes):
                self.run.write_embeddings(picture)

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
        self._note(step, server.noted)
        self._refuse(step, [*transport.take_refused(), *server.refused])

    def _refuse(self, step: Step, refused: list[Refused]) -> None:
        self.refused += len(refused)
        for one in refused:
            self.run.event("refused", **step._asdict(), **one._asdict())

    def _note(self, step: Step, noted: list[Noted]) -> None:
        for one in noted:
            about = {"client": one.client, **one.about, "reason": one.reason}
            self.run.event(one.kind, **step._asdict(), **about)

    def _is_due(self) -> bool:
        return time.monotonic() - self._saved >= self.config.engine.checkpoint_seconds

    def _checkpoint(self, done: int, server: Server, transport: Transport) -> None:
        with self.run.checkpoint(done) as folder:
            server.save(folder)
            transport.save(folder)
            traffic = {"bytes_up": self.bytes_up, "bytes_down": self.bytes_down}
            state = {"done": done, **traffic, "refused": self.refused, "seconds": self.seconds}
            text = json.dumps(state)
            (folder / "experiment.json").write_text(text, encoding="utf-8")
        self._lap("save")
        self._saved = self._mark

    def _restore(self, server: Server, transport: Transport) -> int:
        folder = self.run.latest_checkpoint()
        if folder is None:
            return 0
        with taking_up(folder):
            server.load(folder)
            transport.load(folder)
            state = read_json(folder / "experiment.json", "checkpoint")
            self.bytes_up, self.bytes_down = state["bytes_up"], state["bytes_down"]
            self.refused, self.seconds = state.get("refused", 0), state["seconds"]
            done = int(state["done"])
        self.measured.rows = read_accuracy(folder)
        self.run.write_accuracy(self.measured.rows)  # whatever has become of it since
        self._lap("prepare")
        return done

    def _summarise(self, site: Site, transport: Transport) -> None:
        results = summarise(self.measured.rows)
        small, large = (
            results.get(side, {}).get("class-incremental", {}) for side in ("small", "large")
        )
        summary = {
            "method": self.config.name,
            "seed": self.config.seed,
            "clients": list(site.models),
            "tasks": self.config.scenario.slots,
            "models": site.models,
            "large": self.config.large.model if large else "none",
            "data": self.config.data.title,
            "results": results,
            "temporal_retention": small.get("temporal_retention"),
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
