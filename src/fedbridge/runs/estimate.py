"""What a run will cost: a few real steps of it, carried out in small, and what they make of all."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from fedbridge.config import SITE, Data, kind_of
from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.data import megabytes_of, to_download
from fedbridge.data.dataset import Dataset
from fedbridge.data.public import check_public, name_here
from fedbridge.data.streams.splits import Indices
from fedbridge.federation.embeddings import EmbeddingStore, embed_dataset
from fedbridge.federation.loop import steps
from fedbridge.federation.setup import Setup, prepare, require_entries, used_items, workers_of
from fedbridge.federation.workers import resident_mib
from fedbridge.methods.config import Config
from fedbridge.methods.pictures import require_pictures
from fedbridge.models.device import device_of
from fedbridge.models.fm.foundation import FoundationModel, foundation_of
from fedbridge.runs.data_check import tasks_of
from fedbridge.runs.sampling import (
    SIZES,
    Clock,
    PhaseCost,
    StepPlan,
    reduced,
    sampled,
    side_by_side,
)
from fedbridge.runs.tasks import tasks_in_words
from fedbridge.runs.tracking import require_trackers
from fedbridge.server.warm import distilled, kept
from fedbridge.wire import State, Step

if TYPE_CHECKING:
    from rich.table import Table

Key = tuple[object, ...]
Rates = NDArray[np.float64]
log = logging.getLogger(__name__)
LEFT_OUT = "starting processes, loading the data, saving checkpoints"
PATIENCE = 20.0
"""Seconds after which no further step is tried."""
DOUBTS = 0.001, 0.005, 0.01, 0.02
"""How much speaks against a cost growing with each amount, where nothing tells them apart."""


@dataclass(frozen=True)
class Estimate:
    """What a run will cost."""

    clients: int
    tasks: str
    """What tasks each client has, in words."""
    rounds: int
    """Exchanges with the server in all."""
    items: int
    """Items that some client or the public set uses."""
    to_encode: int
    """Those of them that the FM has not encoded yet."""
    parameters: dict[str, int]
    """Parameters of each architecture."""
    bytes_up: int
    bytes_down: int
    """Of all rounds."""
    seconds: dict[str, float]
    """By phase."""
    memory_mib: float
    """Of all processes together."""

    def table(self) -> "Table":
        """Return the estimate as a table of two columns."""
        from rich.table import Table

        table = Table("what", "how much", title="valid; nothing was run")
        table.add_row("clients", f"{self.clients}, each {self.tasks}")
        for name, count in self.parameters.items():
            table.add_row(f"small model {name}", f"{count:,} parameters")
        table.add_row("items", f"{self.items:,}, of which {self.to_encode:,} to be encoded")
        for way, total in (("up", self.bytes_up), ("down", self.bytes_down)):
            each = total / self.rounds / self.clients
            table.add_row(f"bytes {way}", f"{_size(total)}; {_size(each)} per client and round")
        for phase, seconds in self.seconds.items():
            table.add_row(f"time to {phase}", f"about {_duration(seconds)}")
        table.add_row("time in all", f"about {_duration(sum(self.seconds.values()))}")
        table.add_row("time not counted", LEFT_OUT)
        table.add_row("memory", f"about {self.memory_mib:,.0f} MiB, all processes together")
        return table


def estimate(config: Config, download: bool = False, clock: Clock = time.perf_counter) -> Estimate:
    """Validate everything that a run needs and say what it will cost.

    Raises UserError for whatever the run would refuse, and if the data set is not cached yet,
    unless it may be downloaded. Seconds are those of the ``clock``.
    """
    require_pictures(config)
    require_trackers(config)
    if config.data.name == SITE:
        raise UserError(
            "data.name: what a run costs cannot be told where the data lie at sites, found 'site'; "
            "look at each site's data there with fedbridge data inspect site.toml"
        )
    require_entries(config)
    device_of(config.engine.device)  # refused before anything is loaded
    fm = None
    if config.large.embeds:
        log.info("loading the foundation model %s", config.large.model)
        fm = foundation_of(config)
    if not download:
        _require_cached(config)
    log.info("reading and dividing the data")
    encoder = TrialEncoder(clock)
    setup = prepare(config, fm=fm, embed=encoder)
    log.info("trying a few steps")
    with _left_alone(config.engine.threads):
        seconds, states = _warm_up(setup, clock)
        parts = sampled(setup, states, clock, clock() + PATIENCE)
        memory = (1 + workers_of(config, setup.shared.device)) * resident_mib()
    same, public = config.data.public == "same", len(setup.shared.public_inputs)
    plan = StepPlan(setup, steps(config))
    up, down = traffic(plan, parts)
    return Estimate(
        clients=len(setup.models),
        tasks=tasks_in_words(tasks_of(setup.streams, config.scenario.slots), config),
        rounds=len(plan.todo),
        items=len(used_items(setup.streams, same)) + (0 if same else public),
        to_encode=encoder.missing,
        parameters={
            model: sum(p.numel() for p in setup.shared.small_model(model, model).parameters())
            for model in setup.models.values()
        },
        bytes_up=up,
        bytes_down=down,
        seconds={"encode": encoder.seconds, **extrapolated(plan, parts), **seconds},
        memory_mib=memory,
    )


def _require_cached(config: Config) -> None:
    """Raise UserError if preparing a data set would download something."""
    wanted = {"data.name": config.data}
    if config.data.public not in ("same", "none") and not kind_of(config.data.public):
        check_public(config.data)
        wanted["data.public"] = Data(
            name=name_here(config.data.public), options=config.data.public_options
        )
    for field, data in wanted.items():
        if missing := to_download(data):
            size = megabytes_of(data.name)
            raise UserError(
                f"{field}: {data.name!r} ({', '.join(missing)}) is not cached, and check "
                f"downloads nothing unasked; fedbridge check --download and fedbridge run fetch "
                f"it" + (f", at most {size:.0f} MB" if size else "")
            )


class TrialEncoder:
    """Has the FM encode a few of the items that it has not encoded yet, which are kept."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.missing = 0
        self.seconds = 0.0
        """What it would take to encode all that are missing."""

    def __call__(
        self, fm: FoundationModel, dataset: Dataset, rows: Indices, cache: Path, batch: int
    ) -> EmbeddingStore:
        """Return the items' embeddings; where some are missing, random vectors for all."""
        store = embed_dataset(fm, dataset, rows[:0], cache, batch)
        missing = rows[~store.done[rows]]
        if not len(missing):
            return store
        embed_dataset(fm, dataset, missing[:1], cache, batch)  # the first one is slow
        # spread out, since neighbours may be alike in length
        tried = np.unique(missing[np.linspace(0, len(missing) - 1, batch).astype(np.int64)])
        start = self.clock()
        embed_dataset(fm, dataset, tried, cache, batch)
        self.seconds += (self.clock() - start) / len(tried) * len(missing)
        self.missing += len(missing)
        count, dimension = store.vectors.shape
        noise = rng_for(0, "estimate").standard_normal(count + dimension, dtype=np.float32)
        vectors = sliding_window_view(noise, dimension)[:count]  # which takes no room
        return EmbeddingStore(vectors, np.ones(count, np.bool_))


def _warm_up(setup: Setup, clock: Clock) -> tuple[dict[str, float], dict[str, State]]:
    """Return the seconds of the warm start, where there is one, and models to begin with."""
    if not setup.config.starts_warm:
        return {}, {}
    found = {m: _warming(setup, m, clock) for m in dict.fromkeys(setup.models.values())}
    states = {client: found[model][1] for client, model in setup.models.items()}
    return {"warm up": side_by_side([seconds for seconds, _ in found.values()], setup)}, states


def _warming(setup: Setup, model: str, clock: Clock) -> tuple[float, State]:
    """Return the seconds of an architecture's warm start, unless it is kept, and its state.

    They are extrapolated from two of few epochs on few items; so is the state of little use.
    """
    if known := kept(setup.shared, model):
        return 0.0, known
    few, times, state = reduced(setup, SIZES[-1]).shared, [], {}
    for epochs in (1, 1, 3):  # the first one is slow
        small = few.config.small.model_copy(update={"warm_epochs": epochs})
        shared = replace(few, config=few.config.model_copy(update={"small": small}))
        start = clock()
        state = distilled(shared, model)
        times.append(clock() - start)
    per_item = max(0.0, times[2] - times[1]) / 2 / len(few.public_inputs)
    return per_item * setup.config.small.warm_epochs * len(setup.shared.public_inputs), state


def extrapolated(plan: StepPlan, parts: list[PhaseCost]) -> dict[str, float]:
    """Return the seconds of each phase of a whole run, from parts of it in small."""
    setup, rounds = plan.setup, plan.setup.config.training.rounds
    found = dict.fromkeys(("learn", "fuse", "evaluate"), 0.0)
    rates: dict[Key, Rates] = {}

    def cost(phase: str, client: str, step: Step) -> float:
        due = plan.part(phase, client, step)
        key = *due.kind, due.last
        if key not in rates:
            rates[key] = _rates(due, parts)
        return float(rates[key] @ due.amounts)

    def of_clients(phase: str, step: Step) -> float:
        names, there = list(setup.models), partial(setup.present, step=step)
        return side_by_side([cost(phase, n, step) if there(n) else 0.0 for n in names], setup)

    for step in (Step(0, rounds), *plan.todo):
        if step.task and any(setup.present(name, step) for name in setup.models):
            found["learn"] += of_clients("learn", step)
            found["fuse"] += cost("fuse", "", step)
        if step.round == rounds:
            found["evaluate"] += of_clients("evaluate", step)
    return found


def like(due: PhaseCost, parts: list[PhaseCost]) -> list[PhaseCost]:
    """Return the parts of the same kind; if there are none, of a kind as near as there is."""
    for depth in (len(due.kind), 2, 1):
        if found := [one for one in parts if one.kind[:depth] == due.kind[:depth]]:
            return found
    return []


def _rates(due: PhaseCost, parts: list[PhaseCost]) -> Rates:
    """Return how many seconds come with each amount: none of them negative, by least squares.

    The last task is as those before it, but for how much more or less it took.
    """
    alike = like(due, parts)
    usual = [one for one in alike if not one.last] or alike
    amounts = np.array([one.amounts for one in usual])
    doubt = np.diag(DOUBTS[: amounts.shape[1]])
    seconds = [one.seconds for one in usual] + [0.0] * len(doubt)
    found, _ = nnls(np.vstack([amounts, doubt]), np.array(seconds))
    last = [(one.seconds, found @ one.amounts) for one in alike if one.last]
    took, expected = map(sum, zip(*last, strict=True)) if last and due.last else (1.0, 1.0)
    rates: Rates = found * (took / expected if expected else 1.0)
    return rates


def traffic(plan: StepPlan, parts: list[PhaseCost]) -> tuple[int, int]:
    """Return all bytes up and down: a step that was not tried is as those of its client were."""
    learning = [one for one in parts if one.kind[0] == "learn"]
    total = np.zeros(2)
    for step in plan.todo:
        for name in plan.setup.models:
            if plan.setup.present(name, step):
                total += _bytes(plan.part("learn", name, step), learning)
    return int(total[0].round()), int(total[1].round())


def _bytes(due: PhaseCost, learning: list[PhaseCost]) -> NDArray[np.float64]:
    """Return what a client sends and is sent in a step, which may grow with its tasks."""
    own = [one for one in learning if one.client == due.client] or like(due, learning)
    rounds = {one.step.round for one in own}
    held = max((r for r in rounds if r <= due.step.round), default=min(rounds))
    known = {one.step.task: (one.up, one.down) for one in own if one.step.round == held}
    tasks, ways = sorted(known), zip(*(known[task] for task in sorted(known)), strict=True)
    return np.array([np.interp(due.step.task, tasks, each) for each in ways])


@contextmanager
def _left_alone(threads: int) -> Iterator[None]:
    """Bound threads as a run does, and leave them, and random numbers, to others as they were."""
    before = torch.get_num_threads()
    with threadpool_limits(threads), torch.random.fork_rng(devices=[]):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
