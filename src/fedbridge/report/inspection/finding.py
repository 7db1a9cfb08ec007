"""Inspections of a site's own data, and of the clients of a local experiment."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import SITE, SiteConfig, load_site
from fedbridge.config.files import read_toml
from fedbridge.config.site import HeldOut
from fedbridge.core.errors import UserError
from fedbridge.core.notes import Notes
from fedbridge.core.store import Part, read_part, write_part
from fedbridge.data import load_data
from fedbridge.data.dataset import Dataset
from fedbridge.data.hub.hub import PREFIX
from fedbridge.data.public import PublicSet, digest, items_at, public_set
from fedbridge.data.readers.noticing import Notice
from fedbridge.data.readers.preparing import (
    InputSpec,
    Item,
    part_of,
    shortcomings,
    sides_of,
    usable_items,
)
from fedbridge.data.site import partitions_of
from fedbridge.data.site.holding import dataset_of
from fedbridge.data.streams.scenario import ClientStream, Task
from fedbridge.federation.embeddings import embed_dataset
from fedbridge.federation.setup import plan, prepare
from fedbridge.federation.site import at_site
from fedbridge.methods.config import Config
from fedbridge.methods.files import load_config
from fedbridge.models.fm.foundation import foundation_of
from fedbridge.report.inspection.doubts import doubts
from fedbridge.report.inspection.likeness import blank_rows, equal_items, near_pairs
from fedbridge.report.inspection.page import Inspection
from fedbridge.report.inspection.result import PUBLIC, Pool, TaskFacts

NOT_DIVIDED = "the data cannot be divided as the settings say"
NO_FM = "the common config has no FM (large.head = 'none')"
Vectors = NDArray[np.float32] | None
Read = list[tuple[Part, list[Item]]]


def inspect_file(
    path: Path, config: Path | None = None, overrides: list[str] | None = None
) -> Inspection:
    """Inspect the data of a site config, or of all clients of a common config.

    A site's common config is ``config.toml`` beside it unless another is named; each override of
    it is ``a.b=value``. Raises UserError if the files contradict each other, or the data cannot be
    read at all.
    """
    if "client" not in read_toml(path, "config"):
        return inspect_config(load_config(path, overrides))
    site = load_site(path)
    common = at_site(load_config(config or path.parent / "config.toml", overrides), path)
    if isinstance(site.data, HeldOut):
        return inspect_site(site, common)
    return inspect_config(common, site.client)


def inspect_config(config: Config, client: str | None = None) -> Inspection:
    """Inspect the streams of all clients, or of one; raise UserError if their data are not here."""
    if config.data.name == SITE:
        raise UserError(
            "data.name: 'site' means that the data lie at the sites; inspect a site's site.toml"
        )
    reading = _lenient(config)
    dataset = load_data(reading.data)
    try:
        streams = plan(reading)[1]
    except UserError as error:
        return _undivided(config, dataset, str(error))
    chosen = [one for one in streams.clients if client in (None, one.name)]
    if not chosen:
        known = ", ".join(one.name for one in streams.clients)
        raise UserError(f"client: must be one of {known}, found {client!r}")
    public = public_set(config.data, dataset, streams, config.seed)
    sides = _sides(len(dataset), chosen)
    rows = np.flatnonzero(sides >= 0)
    vectors, skipped = _vectors(reading, rows)
    items = items_at(dataset, rows)
    pool = Pool(
        (*_places(dataset, rows), *_public_places(public)),
        np.concatenate([dataset.labels[rows], np.full(len(public.rows), -1)]),
        np.concatenate([sides[rows], np.full(len(public.rows), PUBLIC)]),
        (*map(digest, items), *map(digest, public.items)),
        vectors,
    )
    tasks = [facts for one in chosen for facts in _facts(one, dataset)]
    found = _inspection(config.name, dataset.classes, tasks, pool, (), skipped)
    if public.dataset is not dataset:
        found = replace(found, notes=_of_public(public.dataset))
    return _with_data(found, config, dataset)


def _of_public(dataset: Dataset) -> Notes:
    """Return what was noticed in a public set of one's own, as such."""
    told = (dataset.notes.guessed, dataset.notes.missing, dataset.notes.odd)
    return Notes(*(tuple(f"{dataset.name}: {line}" for line in lines) for lines in told))


def _vectors(config: Config, rows: NDArray[np.int64]) -> tuple[Vectors, str]:
    """Return the FM's embeddings of items and of the public set, or why there are none."""
    if skipped := _no_embeddings(config):
        return None, skipped
    try:
        store = prepare(config, models=()).store
    except UserError as error:  # models can be chosen later
        return None, str(error)
    return np.concatenate([store[rows], store.public]), ""


def _undivided(config: Config, dataset: Dataset, reason: str) -> Inspection:
    """Return what can be said of data that do not fit the scenario."""
    nothing = np.zeros(0, np.int64)
    pool = Pool((), nothing, nothing, (), None)
    found = _inspection(config.name, dataset.classes, [], pool, (reason,), NOT_DIVIDED)
    return _with_data(found, config, dataset)


def _with_data(found: Inspection, config: Config, dataset: Dataset) -> Inspection:
    """Add what is known of a data set before it is divided."""
    of = config.data.hub if config.data.name.startswith(PREFIX) else config.data.own
    refused = dataset.broken if of.broken == "refuse" else ()
    every = np.arange(len(dataset))
    blank = None
    if dataset.modality == "image":
        blank = tuple(_places(dataset, every[blank_rows(dataset.inputs)]))
    return replace(
        found,
        unusable=(*found.unusable, *refused),
        stock=tuple(np.bincount(dataset.labels, minlength=len(dataset.classes)).tolist()),
        left_out=(*(() if refused else dataset.broken), *dataset.small),
        notes=dataset.notes + found.notes,
        blank=blank,
    )


def _lenient(config: Config) -> Config:
    """Return a config that leaves out what it would refuse, so that the rest can be looked at."""
    lenient = {"broken": "skip"}
    parts = {"own": config.data.own, "hub": config.data.hub}
    data = {name: part.model_copy(update=lenient) for name, part in parts.items()}
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def _places(dataset: Dataset, rows: NDArray[np.int64]) -> list[str]:
    return [dataset.places[row] if dataset.places else f"item {row}" for row in rows.tolist()]


def inspect_site(site: SiteConfig, config: Config) -> Inspection:
    """Inspect what lies at a site now; nothing is taken, and only embeddings are kept.

    Raises UserError if the common config is about other data, or the data cannot be read at all.
    """
    if config.data.name != SITE:
        raise UserError(
            f"data.name: must be 'site' for a site's own data, found {config.data.name!r}"
        )
    assert isinstance(site.data, HeldOut)
    frame = InputSpec.of(config)
    read: Read = []
    notice = Notice()
    broken: dict[str, None] = {}  # what belongs to no task is reported with each
    for partition in partitions_of(site, notice):
        items, faults = usable_items(partition, frame, site.data)
        broken |= dict.fromkeys(map(str, faults))
        if items:
            read.append((part_of(partition.name, items, frame), items))
    refused = site.data.broken == "refuse"
    unusable = list(broken) if refused else []
    for part, _ in read:
        unusable += shortcomings(part, site.data)
    if not read:
        unusable.append("no item can be used")
    public = public_set(config.data, *plan(config), config.seed)
    skipped = _no_embeddings(config)
    vectors = None if skipped else _embeddings(site, config, [part for part, _ in read])
    pool = _site_pool(site.data, read, public, vectors)
    tasks = [
        TaskFacts(site.client, part.domain, _counts(part, sides_of(part.groups, site.data)))
        for part, _ in read
    ]
    found = _inspection(site.client, frame.classes, tasks, pool, tuple(unusable), skipped)
    return replace(
        found,
        left_out=() if refused else tuple(broken),
        blank=_blank(read, frame),
        notes=notice.notes(),
    )


def _blank(read: Read, frame: InputSpec) -> tuple[str, ...] | None:
    if frame.modality == "text":
        return None
    return tuple(
        items[row].place for part, items in read for row in blank_rows(part.inputs).tolist()
    )


def _inspection(
    title: str,
    classes: tuple[str, ...],
    tasks: list[TaskFacts],
    pool: Pool,
    unusable: tuple[str, ...],
    skipped: str,
) -> Inspection:
    return Inspection(
        title,
        classes,
        tuple(tasks),
        int((pool.sides == PUBLIC).sum()),
        unusable,
        equal_items(pool, classes),
        near_pairs(pool),
        doubts(pool, classes),
        skipped=skipped,
    )


def _site_pool(held: HeldOut, read: Read, public: PublicSet, vectors: Vectors) -> Pool:
    items = [item for _, of_task in read for item in of_task]
    groups = np.array([item.group for item in items], np.int64)
    return Pool(
        (*(item.place for item in items), *_public_places(public)),
        np.array([*(item.label for item in items), *[-1] * len(public.rows)], np.int64),
        np.concatenate([sides_of(groups, held), np.full(len(public.rows), PUBLIC)]),
        (*(digest(item.item) for item in items), *map(digest, public.items)),
        vectors,
    )


def _embeddings(site: SiteConfig, config: Config, parts: list[Part]) -> Vectors:
    """Return the FM's embeddings of a site's items and of the public set, kept at the site."""
    public = prepare(config, models=()).store.public
    fm = foundation_of(config)
    found = [public]
    site.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in reversed(parts):
        with tempfile.TemporaryDirectory(prefix=".inspect-", dir=site.state) as folder:
            write_part(Path(folder) / "task", part)
            dataset = dataset_of(*read_part(Path(folder) / "task"))
            every = np.arange(len(dataset))
            found.insert(
                0, embed_dataset(fm, dataset, every, site.state, config.large.batch)[every]
            )
    return np.concatenate(found)


def _no_embeddings(config: Config) -> str:
    """Return why the FM's embeddings cannot be looked at; empty where they can."""
    if not config.large.embeds:
        return NO_FM
    try:
        foundation_of(config)
    except UserError as error:
        return str(error)
    return ""


def _public_places(public: PublicSet) -> list[str]:
    places = _places(public.dataset, public.rows)
    return [f"public {place} of {public.dataset.name}" for place in places]


def _sides(items: int, clients: list[ClientStream]) -> NDArray[np.int64]:
    sides = np.full(items, -1)
    for task in (task for client in clients for task in client.tasks):
        for side, rows in enumerate((task.own, task.validation, task.test)):
            sides[rows] = side
    return sides


def _facts(client: ClientStream, dataset: Dataset) -> list[TaskFacts]:
    return [
        TaskFacts(client.name, task.name or f"task {number}", _counts_of(task, dataset))
        for number, task in enumerate(client.tasks, start=1)
    ]


def _counts_of(task: Task, dataset: Dataset) -> NDArray[np.int64]:
    parts = (task.own, task.validation, task.test)
    size = len(dataset.classes)
    return np.stack([np.bincount(dataset.labels[rows], minlength=size) for rows in parts], 1)


def _counts(part: Part, sides: NDArray[np.int64]) -> NDArray[np.int64]:
    size = len(part.classes)
    return np.stack([np.bincount(part.labels[sides == s], minlength=size) for s in range(3)], 1)
