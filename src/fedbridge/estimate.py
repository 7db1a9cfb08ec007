"""What a run will cost, told before it is run: bytes from real messages, the rest extrapolated."""

import logging
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fedbridge.config import SITE, Data, Settings, kind_of
from fedbridge.config.models import TrainedLarge
from fedbridge.data import megabytes_of, to_download
from fedbridge.data.dataset import Dataset
from fedbridge.data.noting import tasks_of
from fedbridge.data.public import PublicSet, check_public, name_here, public_set
from fedbridge.data.scenario import ClientStream, Streams
from fedbridge.data.store import cache_folder
from fedbridge.engine.loop import steps
from fedbridge.errors import UserError
from fedbridge.methods.context import SharedContext
from fedbridge.methods.fedproto import FedProto
from fedbridge.methods.fedweit import BASE, matrices
from fedbridge.methods.pictures import require_pictures
from fedbridge.methods.registry import declared, exchange_of, fusion_of, head_of
from fedbridge.methods.target import TARGET
from fedbridge.models.device import device_of
from fedbridge.models.embeddings import embed_dataset, try_on
from fedbridge.models.foundation import FoundationModel, foundation_of
from fedbridge.models.trial import check_models
from fedbridge.pace import pace_of, pace_of_large, seconds_of
from fedbridge.phases import model_of, phases
from fedbridge.rng import rng_for
from fedbridge.setup import commons_of, plan, require_entries, used_items, workers_of
from fedbridge.tasks import tasks_in_words
from fedbridge.wire import Broadcast, State, Step, Upload, encode

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)
MIB = 2**20
LEFT_OUT = "starting processes, loading the data, saving checkpoints"
SLACK = 1.25  # what the allocator keeps back in a long run, as measured


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


def estimate(config: Settings, download: bool = False) -> Estimate:
    """Validate everything that a run needs and say what it will cost.

    Raises UserError for whatever the run would refuse, and if the data set is not cached yet,
    unless it may be downloaded.
    """
    require_pictures(config)
    if config.data.name == SITE:
        raise UserError(
            "data.name: what a run costs cannot be told where the data lie at sites, found 'site'; "
            "look at each site's data there with fedbridge data inspect site.toml"
        )
    require_entries(config)
    device_of(config.engine.device)  # refused before anything is loaded
    large = config.large
    fm = None
    if large.embeds:
        log.info("loading the foundation model %s", large.model)
        fm = foundation_of(config)
    if not download:
        _require_cached(config)
    log.info("reading and dividing the data")
    dataset, streams = plan(config)
    check_models(config.small.models, dataset.inputs.shape[1:])
    public = public_set(config.data, dataset, streams, config.seed)
    same = public.dataset is dataset
    used = used_items(streams, same)
    frozen = np.intersect1d(used, streams.public) if large.tuned else used
    tried = [_try_encoding(config, fm, dataset, frozen)]
    if not same:
        tried.append(_try_encoding(config, fm, public.dataset, public.rows))
    dimension = (fm.dimension if fm else None) or 1
    commons = _stand_in(config, dataset, public, dimension)
    names = dict.fromkeys(model_of(config, k) for k in range(config.scenario.clients))
    log.info("timing %s, on a few batches each", ", ".join(names))
    with _threads(config.engine.threads):
        paces = {m: pace_of(commons, dataset, streams.clients[0], m) for m in names}
        encode_s = sum(count * per_item for count, per_item in tried)
        large_pace = pace_of_large(commons, dataset, streams.clients[0])
        seconds = {"encode": encode_s, **phases(commons, streams, paces, large_pace)}
    bytes_up, bytes_down = _traffic(commons, streams)
    return Estimate(
        clients=len(streams.clients),
        tasks=tasks_in_words(tasks_of(streams, config.scenario.slots), config),
        rounds=len(steps(config)),
        items=len(used) + (0 if same else len(public.rows)),
        to_encode=sum(count for count, _ in tried),
        parameters={model: pace.parameters for model, pace in paces.items()},
        bytes_up=bytes_up,
        bytes_down=bytes_down,
        seconds=seconds,
        memory_mib=_memory(commons, dataset, streams, 4 * dimension * len(used)) / MIB,
    )


def _require_cached(config: Settings) -> None:
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


def _try_encoding(
    config: Settings, fm: FoundationModel | None, dataset: Dataset, used: NDArray[np.int64]
) -> tuple[int, float]:
    """Encode, and keep, one batch of the items that are not encoded.

    Return how many those are and the seconds per item.
    """
    if fm is None:
        return 0, 0.0
    batch = config.large.batch
    try_on(fm, dataset, cache_folder(), batch)

    def encoded(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return embed_dataset(fm, dataset, rows, cache_folder(), batch).done

    missing = used[~encoded(used[:0])[used]]
    if not len(missing):
        return 0, 0.0
    encoded(missing[:1])  # the first one is slow
    # spread out, since neighbours may be alike in length
    sample = np.unique(missing[np.linspace(0, len(missing) - 1, batch).astype(np.int64)])
    return len(missing), seconds_of(lambda: encoded(sample), 1) / len(sample)


def _stand_in(
    config: Settings, dataset: Dataset, public: PublicSet, dimension: int
) -> SharedContext:
    """Return commons that are real but for the FM's embeddings of U, which are random."""
    rng = rng_for(config.seed, "estimate")
    embeddings = rng.standard_normal((len(public.rows), dimension)).astype(np.float32)
    return commons_of(config, dataset, public, embeddings)


def _traffic(commons: SharedContext, streams: Streams) -> tuple[int, int]:
    """Return all bytes up and down, from messages of the right shapes.

    Messages differ by a few characters from others with the same model at the same place.
    """
    config, totals = commons.config, [0, 0]
    side = head_of(config).server(commons, tuple(c.name for c in streams.clients), config.large)
    begins = config.starts_warm or fusion_of(config).shared_init
    fused: set[str] = {c.name for c in streams.clients} if begins else set()
    shared: State = {}
    lengths: dict[tuple[object, ...], tuple[int, int]] = {}
    for step in steps(config):
        present = [
            (model_of(config, k), client)
            for k, client in enumerate(streams.clients)
            if client.takes_part(*step, config.training.rounds)
        ]
        for model, client in present:
            starts, sent = _starts(config, client, step), client.name in fused
            upload = _upload(commons, client, step, starts, side.trained)
            adapter = side.adapter(client.name)
            kind = model, starts, sent, bool(adapter), len(upload.seen), *shared
            if kind not in lengths:
                small = commons.small_model(model, client.name)
                up = replace(upload, state=exchange_of(config).uploaded(small))
                down = Broadcast(*step, small.state_dict() if sent else {}, adapter, shared)
                lengths[kind] = len(encode(up)), len(encode(down))
            totals = [total + size for total, size in zip(totals, lengths[kind], strict=True)]
            side.absorb(upload)
        if present:
            side.finish_round([])
            fused |= {client.name for _, client in present}
            shared |= _shared(commons, step, present)
    return totals[0], totals[1]


def _shared(
    commons: SharedContext, step: Step, present: Sequence[tuple[str, ClientStream]]
) -> State:
    """Return arrays of the shapes of what the fusion sends to everybody after a step."""
    config, fusion = commons.config, commons.config.fusion
    if isinstance(fusion, FedProto):
        return {"prototypes": torch.zeros(len(commons.classes), config.small.dimension)}
    last = step.round == config.training.rounds
    if exchange_of(config) is BASE and last:
        smalls = {client.name: commons.small_model(model, model) for model, client in present}
        return {
            f"{name}/{client}": small.get_parameter(name).detach()
            for client, small in smalls.items()
            for name in matrices(small)
        }
    if isinstance(fusion, TARGET) and last and step.task < config.scenario.slots:
        pictures = torch.zeros(fusion.items, *commons.input_shape, dtype=torch.uint8)
        return {"synthetic": pictures, "synthetic_labels": torch.zeros(len(pictures)).long()}
    return {}


def _starts(config: Settings, client: ClientStream, step: Step) -> bool:
    """Say whether a step is the first one of a task in which a client takes part."""
    rounds = config.training.rounds
    return step.round == 1 or not client.takes_part(step.task, step.round - 1, rounds)


def _upload(
    commons: SharedContext, client: ClientStream, step: Step, starts: bool, trained: State
) -> Upload:
    """Return an upload of the right shapes but for the small model's state."""
    number = client.own_task(step.task)
    size, classes = commons.lift.dimension, len(commons.classes)
    large = commons.config.large
    items = len(client.tasks[number - 1].own)
    upload = Upload(client.name, *step, {}, tuple(client.seen(number)), items=items, own=number)
    extra = {name: torch.zeros(array.shape) for name, array in declared(commons).items()}
    upload = replace(upload, extra=extra)
    if isinstance(large, TrainedLarge):
        return replace(upload, adapter=trained)
    if not starts or not head_of(commons.config).sums or large.scope == "client":
        return upload
    gram = size * (size + 1) // 2 if "gram" in head_of(commons.config).sums else 0
    return replace(
        upload,
        gram=torch.zeros(gram),
        cross=torch.zeros(size, classes),
        counts=torch.zeros(classes),
    )


def _memory(commons: SharedContext, dataset: Dataset, streams: Streams, mapped: int) -> float:
    """Return bytes: what this process came to need, in each process, and what it did not try.

    That is, everywhere the ``mapped`` embeddings and, for each client, what is known of its
    task's items and of U, its own sums and everybody's; in each process the sums of a task and
    what solving takes; at the server its own sums, and the data once more where clients live in
    the same process.
    """
    unit = 1 if sys.platform == "darwin" else 2**10
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    workers = workers_of(commons.config, commons.device)
    size, classes = commons.lift.dimension, len(commons.classes)
    width = size + commons.config.small.dimension + classes
    longest = [max(len(task.train) for task in client.tasks) for client in streams.clients]
    known = sum(4 * width * (count + len(commons.public_inputs)) for count in longest)
    gram = 8 * size**2 * bool(head_of(commons.config).sums)
    known += 2 * len(longest) * gram
    server = 2 * gram + (0 if workers else dataset.inputs.nbytes)
    summing = max(1, workers) * (4 * gram + 16 * size * max(longest))
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
