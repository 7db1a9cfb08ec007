"""What an experiment is made of, built from its config: data, streams, embeddings, clients."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedbridge.client.client import FederatedClient
from fedbridge.client.private import Private
from fedbridge.config import SITE, Settings
from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.core.own_metrics import own_metrics
from fedbridge.core.store import cache_folder
from fedbridge.data import check_data, load_data
from fedbridge.data.dataset import Dataset
from fedbridge.data.public import PublicSet, check_public, items_at, public_set
from fedbridge.data.readers.preparing import InputSpec
from fedbridge.data.streams.scenario import Elsewhere, Streams, build_scenario, kind_of_scenario
from fedbridge.data.streams.splits import Indices
from fedbridge.federation.embeddings import EmbeddingStore, embed_dataset, no_embeddings, try_on
from fedbridge.federation.loop import Tell
from fedbridge.federation.workers import WorkerState
from fedbridge.methods.config import Config
from fedbridge.methods.context import SharedContext
from fedbridge.methods.pictures import require_pictures
from fedbridge.methods.registry import sharpness_of
from fedbridge.models.device import device_of
from fedbridge.models.fm.foundation import FoundationModel, foundation_of
from fedbridge.models.fm.proof import FEW
from fedbridge.models.fm.tuning import require_tunable, tunable
from fedbridge.models.small.space import anchors, stored
from fedbridge.models.small.trial import check_models
from fedbridge.models.statistics import FeatureMap
from fedbridge.wire import Step

Embed = Callable[[FoundationModel, Dataset, Indices, Path, int], EmbeddingStore]
"""Gives the embeddings of some items of a data set, as ``embed_dataset`` does."""


@dataclass(frozen=True)
class Setup:
    """All data of an experiment in one place, as only a simulation has it."""

    config: Config
    dataset: Dataset
    streams: Streams
    store: EmbeddingStore
    shared: SharedContext

    @property
    def models(self) -> dict[str, str]:
        """Return each client's small model, as ``small.models`` names it."""
        return models_of(self.config, self.streams)

    def present(self, client: str, step: Step) -> bool:
        """Say whether a client takes part in a step; all are there before the first one."""
        (stream,) = (s for s in self.streams.clients if s.name == client)
        return step.task == 0 or stream.takes_part(*step, self.config.training.rounds)


def workers_of(config: Settings, device: torch.device) -> int:
    """Return the number of worker processes that the settings ask for."""
    if config.engine.workers != "auto":
        return min(config.engine.workers, config.scenario.clients)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    useful = min(cores or 1, config.scenario.clients)
    return useful if device.type == "cpu" and useful > 1 else 0


def require_entries(config: Settings) -> None:
    """Raise UserError if a data set, a scenario or a metric that is named is not there."""
    require_data(config)
    own_metrics(config.track.metrics)


def require_data(config: Settings) -> None:
    """Raise UserError if a data set or a scenario is not there, or does not take its options."""
    check_data(config.data)
    check_public(config.data)
    kind_of_scenario(config.scenario)


def plan(config: Settings) -> tuple[Dataset, Streams]:
    """Load the data set and build the streams; raise UserError before anything costly.

    Where the data lie at sites, the data set is empty and the streams are names.
    """
    require_data(config)
    require_tunable(config.large)
    require_pictures(config)
    if config.data.clients is not None:
        clients = tuple(Elsewhere(name, ()) for name in config.data.clients)
        return InputSpec.of(config).empty(), Streams(np.zeros(0, np.int64), clients)
    dataset = load_data(config.data)
    require_pictures(config, dataset.modality)
    return dataset, build_scenario(dataset, config.scenario, config.seed)


def models_of(config: Settings, streams: Streams) -> dict[str, str]:
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
) -> Setup:
    """Build all that clients and server need; embeddings that are missing are computed.

    ``models`` are the small models that are to be built here, all of the config by default;
    ``fm`` is the config's FM, where it is loaded already. ``embed`` takes the place of
    ``embed_dataset`` for whoever does not need every embedding.
    """
    dataset, streams = plan(config)
    public = public_set(config.data, dataset, streams, config.seed)
    if store is None:
        check_models(config.small.models if models is None else models, dataset.inputs.shape[1:])
        if config.large.tuned:  # its first words may be a refusal
            tuned = tunable(config.large, device_of(config.engine.device), config.seed)
            with foreign_errors(config.large.model):
                tuned.encode(public.items[:FEW], config.large.batch)
        embed = embed or partial(embed_dataset, progress=tell)
        store = _encoded(config, dataset, streams, public, fm, embed)
    shared = context_of(config, dataset, public, store.public)
    return Setup(config, dataset, streams, store, shared)


def _encoded(
    config: Config,
    dataset: Dataset,
    streams: Streams,
    public: PublicSet,
    fm: FoundationModel | None,
    embed: Embed,
) -> EmbeddingStore:
    large = config.large
    if not large.embeds:
        nothing = no_embeddings(len(dataset))
        return replace(nothing, public=np.zeros((len(public.rows), 1), np.float32))
    fm = fm or foundation_of(config)

    def encoded(of: Dataset, rows: Indices) -> EmbeddingStore:
        try_on(fm, of, cache_folder(), large.batch)
        return embed(fm, of, rows, cache_folder(), large.batch)

    same = public.dataset is dataset
    own = used_items(streams, same)
    if large.tuned:  # clients encode theirs themselves, in every round
        own = np.intersect1d(own, streams.public)
    store = encoded(dataset, own) if len(dataset) else no_embeddings(0)
    about = store if same else encoded(public.dataset, public.rows)
    return replace(store, public=about[public.rows])


def context_of(
    config: Settings, dataset: Dataset, public: PublicSet, embeddings: NDArray[np.float32]
) -> SharedContext:
    """Return what all sides hold in common; ``embeddings (|U|, D)`` are the FM's of U."""
    device = device_of(config.engine.device)
    lift = FeatureMap.fit(embeddings, config.large.projection, config.seed)
    return SharedContext(
        config=config,
        sharpness=sharpness_of(config),
        classes=dataset.classes,
        input_shape=tuple(dataset.inputs.shape[1:]),
        anchors=anchors(dataset.classes, config.small.dimension, config.seed).to(device),
        public_inputs=stored(public.inputs).to(device),
        public_features=lift(embeddings),
        lift=lift,
        device=device,
        public_items=public.items if config.large.tuned else None,
    )


def used_items(streams: Streams, public: bool = True) -> Indices:
    """Return every item that some stream uses, or this data set's public set, ascending."""
    tasks = [task for client in streams.clients for task in client.tasks]
    parts = [part for t in tasks for part in (t.train, t.validation, t.test)]
    common = streams.public if public else streams.public[:0]
    return np.unique(np.concatenate([common, *parts]))


def build_worker_state(
    config: Config, store: EmbeddingStore, names: tuple[str, ...]
) -> WorkerState:
    """Build some of the clients with their private data, in any process.

    Raises UserError if the data lie at sites, each of which builds its own client.
    """
    if config.data.name == SITE:
        raise UserError(
            "data.name: must be a data set that is here for the local engine, found 'site'"
        )
    return worker_state_of(prepare(config, store), names)


def worker_state_of(setup: Setup, names: tuple[str, ...]) -> WorkerState:
    """Build some of the clients of an experiment whose data are all here."""
    clients = {}
    for stream in setup.streams.clients:
        if stream.name in names:
            private = private_of(setup, stream.name)
            clients[stream.name] = FederatedClient(private, setup.shared, setup.models[stream.name])
    return WorkerState(setup.shared, clients)


def private_of(setup: Setup, name: str) -> Private:
    """Return what a client of an experiment whose data are all here has of its own."""
    (stream,) = (one for one in setup.streams.clients if one.name == name)
    return Private(
        stream,
        lambda rows: stored(setup.dataset.inputs[rows]),
        lambda rows: setup.shared.lift(setup.store[rows]),
        setup.dataset.labels,
        lambda rows: items_at(setup.dataset, rows),
    )
