"""What jobs share, checked and prepared once before the first of them starts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedbridge.bench.grid import Job
from fedbridge.core.errors import UnavailableError, UserError
from fedbridge.core.own_metrics import own_metrics
from fedbridge.data.public import public_set
from fedbridge.federation.setup import plan, prepare
from fedbridge.methods.config import Config
from fedbridge.methods.pictures import require_pictures
from fedbridge.models.fm.foundation import foundation_of
from fedbridge.models.fm.tuning import require_tunable
from fedbridge.models.small.trial import check_models

Tell = Callable[[str, int, int], None]
"""Called with (scenario, done, wanted) while an FM encodes items."""


def make_ready(path: Path, jobs: Sequence[Job], tell: Tell | None = None) -> list[tuple[Job, str]]:
    """Deal out the data of all jobs, build their models, and have each FM encode what they need.

    So jobs that run side by side find everything in the cache. Returns the jobs whose data or FM
    cannot be had, and why. Raises UserError, naming the suite file and the entry, for whatever
    else a run would refuse; nothing is encoded before all jobs have dealt out their data and
    every FM has been loaded.
    """
    lacking: dict[object, str] = {}
    tried: set[object] = set()
    for alike in _alike(jobs, _data):
        if alike[0].config.data not in lacking:
            with _noted(lacking, alike[0].config.data):
                _deal_out(path, alike, tried)
    with_fm = [job for job in jobs if job.config.large.embeds and job.config.data not in lacking]
    for job, *_ in _alike(with_fm, _foundation):
        with _named(path, job), _noted(lacking, _foundation(job.config)):
            foundation_of(job.config)
    ready = [job for job in with_fm if _foundation(job.config) not in lacking]
    for alike in _alike(ready, _foundation):
        fm = foundation_of(alike[0].config)
        for job, *_ in _alike(alike, _items):
            with _named(path, job):  # small models were tried above
                prepare(job.config, tell=_telling(job, tell), models=(), fm=fm)
    needs = [(job, need) for job in jobs for need in _needs(job.config) if need in lacking]
    return [(job, lacking[need]) for job, need in needs]


def _alike(jobs: Sequence[Job], key: Callable[[Config], object]) -> list[list[Job]]:
    """Return the jobs in groups that are alike in what ``key`` says."""
    found: dict[object, list[Job]] = {}
    for job in jobs:
        found.setdefault(key(job.config), []).append(job)
    return list(found.values())


def _deal_out(path: Path, alike: Sequence[Job], tried: set[object]) -> None:
    """Deal out the data that some jobs have in common, and see whether each can use them.

    Small models that were tried on inputs of the same shape are not tried again.
    """
    first = alike[0].config
    with _named(path, alike[0]):
        dataset, streams = plan(first)
        shape = dataset.inputs.shape[1:]
        new = [model for model in first.small.models if (model, shape) not in tried]
        check_models(new, shape)
        tried |= {(model, shape) for model in new}
        public_set(first.data, dataset, streams, first.seed)
    for job in alike:
        with _named(path, job):
            own_metrics(job.config.track.metrics)
            require_tunable(job.config.large)
            require_pictures(job.config, dataset.modality)


def _needs(config: Config) -> tuple[object, ...]:
    """Return what a job needs that may be missing, in the order in which it is looked for."""
    return (config.data, *([_foundation(config)] if config.large.embeds else []))


def _data(config: Config) -> object:
    return config.data, config.scenario, config.seed, config.small.models


def _foundation(config: Config) -> object:
    large = config.large
    return large.model, large.size, large.tuned, config.engine.precision


def _items(config: Config) -> object:
    # upper bounds train on more items, but on none that no other client or task has
    scenario = config.scenario.model_copy(update={"history": "task"})
    return config.data, scenario, config.seed, _foundation(config)


def _telling(job: Job, tell: Tell | None) -> Callable[[int, int], None] | None:
    return None if tell is None else lambda done, wanted: tell(job.scenario.name, done, wanted)


@contextmanager
def _noted(lacking: dict[object, str], need: object) -> Iterator[None]:
    """Note why something cannot be had, and go on."""
    try:
        yield
    except UnavailableError as error:
        lacking[need] = str(error)


@contextmanager
def _named(path: Path, job: Job) -> Iterator[None]:
    """Name in a UserError which entry of which suite it is about."""
    try:
        yield
    except UnavailableError:
        raise
    except UserError as error:
        entry = f"scenario {job.scenario.name!r}, method {job.method.name!r}, seed {job.seed}"
        raise UserError(f"{path}: {entry}: {error}") from error
