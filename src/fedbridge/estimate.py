"""What a run will cost, told before it is run: bytes from real messages, the rest extrapolated."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fedbridge.config import Config
from fedbridge.data import DATASETS
from fedbridge.data.dataset import Dataset
from fedbridge.data.scenario import ClientStream, Streams
from fedbridge.data.store import FORMAT, cache_folder
from fedbridge.engine.loop import steps
from fedbridge.errors import UserError
from fedbridge.experiment import check_models, commons_of, device_of, plan, used_items, workers_of
from fedbridge.models.commons import Commons
from fedbridge.models.embeddings import embed_dataset
from fedbridge.models.foundation import FoundationModel, load_foundation
from fedbridge.pace import Pace, pace_of, pace_of_head, seconds_of, seen_by
from fedbridge.rng import rng_for
from fedbridge.server.large import LARGE_SIDES
from fedbridge.wire import Broadcast, State, Step, Upload, encode

if TYPE_CHECKING:
    from rich.table import Table

MIB = 2**20
SLACK = 1.25  # what the allocator keeps back in a long run, as measured


@dataclass(frozen=True)
class Estimate:
    """What a run will cost."""

    clients: int
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
    """Of all rounds; a little less where the chosen lambda is the first or the last candidate."""
    seconds: dict[str, float]
    """By phase."""
    memory_mib: float
    """Of all processes together."""

    def table(self) -> "Table":
        """Return the estimate as a table of two columns."""
        from rich.table import Table

        table = Table("what", "how much", title="valid; nothing was run")
        for name, count in self.parameters.items():
            table.add_row(f"small model {name}", f"{count:,} parameters")
        table.add_row("items", f"{self.items:,}, of which {self.to_encode:,} to be encoded")
        for way, total in (("up", self.bytes_up), ("down", self.bytes_down)):
            each = total / self.rounds / self.clients
            table.add_row(f"bytes {way}", f"{_size(total)}; {_size(each)} per client and round")
        for phase, seconds in self.seconds.items():
            table.add_row(f"time to {phase}", f"about {_duration(seconds)}")
        table.add_row("time in all", f"about {_duration(sum(self.seconds.values()))}")
        table.add_row("memory", f"about {self.memory_mib:,.0f} MiB, all processes together")
        return table


def estimate(config: Config, download: bool = False) -> Estimate:
    """Validate everything that a run needs and say what it will cost.

    Raises UserError for whatever the run would refuse, and if the data set is not cached yet,
    unless it may be downloaded.
    """
    device = device_of(config.engine.device)
    large = config.large
    fm = load_foundation(large.model, large.size, device, config.engine.precision)
    if not download:
        _require_cached(config)
    dataset, streams = plan(config)
    check_models(config, dataset)
    used = used_items(streams)
    to_encode, per_item = _try_encoding(config, fm, dataset, used)
    commons = _stand_in(config, dataset, streams, fm.dimension)
    names = dict.fromkeys(_model(config, k) for k in range(config.scenario.clients))
    with _threads(config.engine.threads):
        paces = {m: pace_of(commons, dataset, streams.clients[0], m) for m in names}
        seconds = {"encode": to_encode * per_item, **_phases(commons, streams, paces)}
    bytes_up, bytes_down = _traffic(commons, streams)
    return Estimate(
        clients=config.scenario.clients,
        rounds=len(steps(config)),
        items=len(used),
        to_encode=to_encode,
        parameters={model: pace.parameters for model, pace in paces.items()},
        bytes_up=bytes_up,
        bytes_down=bytes_down,
        seconds=seconds,
        memory_mib=_memory(commons, dataset, streams, 4 * fm.dimension * len(used)) / MIB,
    )


def _require_cached(config: Config) -> None:
    """Raise UserError if preparing the data set would download something."""
    entry = DATASETS.get(config.data.name)
    if entry is None or not entry.packages:
        return  # an unknown name is for load_dataset to explain
    root = cache_folder() / f"data-v{FORMAT}" / config.data.name
    chosen = config.data.domains or entry.domains
    missing = [domain for domain in chosen if not (root / domain).is_dir()]
    if missing and set(chosen) <= set(entry.domains):
        raise UserError(
            f"data.name: {config.data.name!r} ({', '.join(missing)}) is not cached, and check "
            f"downloads nothing unasked; fedbridge check --download and fedbridge run fetch it, "
            f"at most {entry.megabytes:.0f} MB"
        )


def _try_encoding(
    config: Config, fm: FoundationModel, dataset: Dataset, used: NDArray[np.int64]
) -> tuple[int, float]:
    """Encode, and keep, one batch of the items that are not encoded.

    Return how many those are and the seconds per item.
    """
    batch = config.large.batch

    def encoded(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return embed_dataset(fm, dataset, rows, cache_folder(), batch).done

    missing = used[~encoded(used[:0])[used]]
    if not len(missing):
        return 0, 0.0
    encoded(missing[:1])  # the first one is slow
    # spread out, since neighbours may be alike in length
    sample = np.unique(missing[np.linspace(0, len(missing) - 1, batch).astype(np.int64)])
    return len(missing), seconds_of(lambda: encoded(sample), 1) / len(sample)


def _stand_in(config: Config, dataset: Dataset, streams: Streams, dimension: int) -> Commons:
    """Return commons that are real but for the FM's embeddings of U, which are random."""
    rng = rng_for(config.seed, "estimate")
    public = rng.standard_normal((len(streams.public), dimension)).astype(np.float32)
    return commons_of(config, dataset, streams, public)


def _model(config: Config, client: int) -> str:
    return config.small.models[client % len(config.small.models)]


def _phases(commons: Commons, streams: Streams, paces: dict[str, Pace]) -> dict[str, float]:
    """Extrapolate from the paces to the seconds of each phase."""
    config, rounds = commons.config, len(steps(commons.config))
    own = [paces[_model(config, k)] for k in range(len(streams.clients))]
    pairs = list(zip(streams.clients, own, strict=True))
    public, head = len(commons.public_inputs), pace_of_head(commons)
    trained = sum(len(task.train) for client in streams.clients for task in client.tasks)
    absorbed = rounds * public * any(config.large.absorb)
    serial = rounds * (public * sum(p.read for p in own) + _offers(commons)[1] * head.solve)
    phases = {
        "learn": _divided(
            [_steps(config, c) * p.learn + _asked(config, c, public) * p.read for c, p in pairs],
            commons,
        )
        + trained * head.sum_up,
        "fuse": _divided([_lessons(config) * public * p.fuse for p in own], commons)
        + absorbed * head.sum_up
        + serial,
        "evaluate": _divided([_measured(c) * p.read for c, p in pairs], commons),
    }
    if config.small.start == "warm":
        batches = -(-public // config.training.batch) * config.small.warm_epochs
        phases["warm up"] = batches * sum(pace.learn for pace in paces.values())
    return phases


def _steps(config: Config, client: ClientStream) -> int:
    """Return the number of a client's training steps."""
    batches = sum(-(-len(task.train) // config.training.batch) for task in client.tasks)
    return batches * config.training.rounds * config.training.epochs


def _asked(config: Config, client: ClientStream, public: int) -> int:
    """Return how many items a client's teachers are asked about, counted again every round."""
    if config.learner.name == "finetune":
        return 0
    return sum(len(task.train) + public for task in client.tasks) * config.training.rounds


def _lessons(config: Config) -> int:
    """Return the largest number of lessons that one student has from teachers."""
    fusion = config.fusion
    if fusion.name != "obod":
        return 0
    others = config.scenario.clients - 1 if fusion.others else 0
    earlier = [min(task, fusion.snapshots) for task in range(config.scenario.tasks)]
    lessons = sum(min(fusion.teachers, others + own) for own in earlier)
    return lessons * (config.training.rounds if fusion.rounds == "every" else 1)


def _measured(client: ClientStream) -> int:
    """Return how many items a client embeds to be measured, before and after every task."""
    tests = [len(task.test) for task in client.tasks]
    held_back = [len(task.validation) for task in client.tasks]
    after = range(1, len(tests) + 1)
    return sum(tests) + sum(sum(tests[: t + 1]) + sum(held_back[:t]) for t in after)


def _divided(costs: list[float], commons: Commons) -> float:
    """Return the time of the slowest worker if client k's cost falls to worker k mod workers."""
    engine = commons.config.engine
    workers = workers_of(commons.config, commons.device) or 1
    crowding = max(1.0, workers * engine.threads / (os.cpu_count() or 1))
    return max(sum(costs[w::workers]) for w in range(workers)) * crowding


def _offers(commons: Commons) -> tuple[int, int]:
    """Return how many candidate heads the server offers, at first and from then on."""
    large = LARGE_SIDES[commons.config.large.head](commons, ("any",))
    first = len(large.heads("any"))
    large.finish_round([])
    return first, len(large.heads("any"))


def _traffic(commons: Commons, streams: Streams) -> tuple[int, int]:
    """Return all bytes up and down, from messages of the right shapes.

    A client's messages differ from those of another with the same model by a few characters.
    """
    config, totals = commons.config, [0, 0]
    first, later = _offers(commons)
    for k, client in enumerate(streams.clients[: len(config.small.models)]):
        alike = len(range(k, len(streams.clients), len(config.small.models)))
        state = commons.small_model(_model(config, k), client.name).state_dict()
        for number, step in enumerate(steps(config)):
            offers = later if number else first
            sends_state = number or config.small.start == "warm"
            down = _broadcast(commons, step, state if sends_state else {}, offers)
            totals[0] += alike * len(encode(_upload(commons, client, step, state, offers)))
            totals[1] += alike * len(encode(down))
    return totals[0], totals[1]


def _broadcast(commons: Commons, step: Step, state: State, offers: int) -> Broadcast:
    return Broadcast(
        *step, state, torch.zeros(offers, commons.lift.dimension, len(commons.classes))
    )


def _upload(
    commons: Commons, client: ClientStream, step: Step, state: State, offers: int
) -> Upload:
    seen = tuple(seen_by(ClientStream(client.name, client.tasks[: step.task])))
    correct = torch.zeros(offers)
    if step.round > 1:
        return Upload(client.name, *step, state, seen, correct=correct)
    size, classes = commons.lift.dimension, len(commons.classes)
    return Upload(
        client.name,
        *step,
        state,
        seen,
        gram=torch.zeros(size * (size + 1) // 2),
        cross=torch.zeros(size, classes),
        counts=torch.zeros(classes),
        correct=correct,
    )


def _memory(commons: Commons, dataset: Dataset, streams: Streams, mapped: int) -> float:
    """Return bytes: what this process came to need, in each process, and what it did not try.

    That is, everywhere the ``mapped`` embeddings and, for each client, what is known of its
    task's items and of U; in each process the sums of a task; at the server its own sums, with
    what solving takes, and the data once more where clients live in the same process.
    """
    unit = 1 if sys.platform == "darwin" else 2**10
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    workers = workers_of(commons.config, commons.device)
    size, classes = commons.lift.dimension, len(commons.classes)
    width = size + commons.config.small.dimension + classes
    longest = [max(len(task.train) for task in client.tasks) for client in streams.clients]
    known = sum(4 * width * (count + len(commons.public_inputs)) for count in longest)
    gram = 8 * size**2
    kept = len(longest) if commons.config.large.scope == "client" else 1
    server = (kept + 3) * gram + (0 if workers else dataset.inputs.nbytes)
    summing = max(1, workers) * (gram + 16 * size * max(longest))
    return SLACK * float((1 + workers) * here + mapped + known + summing + server)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
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
