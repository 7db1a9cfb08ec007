"""What jobs share, checked and prepared once before the first of them starts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedbridge.bench.grid import Job
from fedbridge.config import Config
from fedbridge.errors import UserError
from fedbridge.experiment import check_models, device_of, plan, prepare
from fedbridge.models.foundation import load_foundation

Tell = Callable[[str, int, int], None]
"""Is told (scenario, done, wanted) while an FM encodes items."""


def make_ready(path: Path, jobs: Sequence[Job], tell: Tell | None = None) -> None:
    """Deal out the data of all jobs, build their models, and have each FM encode what they need.

    So jobs that run side by side find everything in the cache. Raises UserError, naming the suite
    file and the entry, for whatever a run would refuse; nothing is encoded before all jobs have
    dealt out their data and every FM has been loaded.
    """
    for job in _one_of_each(jobs, _data):
        with _named(path, job):
            dataset, _ = plan(job.config)
            check_models(job.config, dataset)
    with_fm = [job for job in jobs if job.config.large.head != "none"]
    for job in _one_of_each(with_fm, _foundation):
        with _named(path, job):
            _load(job.config)
    for job in _one_of_each(with_fm, _items):
        with _named(path, job):
            prepare(job.config, tell=_telling(job, tell))


def _one_of_each(jobs: Sequence[Job], key: Callable[[Config], object]) -> list[Job]:
    """Return the first of all jobs that are alike in what ``key`` says."""
    found: dict[object, Job] = {}
    for job in jobs:
        found.setdefault(key(job.config), job)
    return list(found.values())


def _data(config: Config) -> object:
    return config.data, config.scenario, config.seed, config.small.models


def _foundation(config: Config) -> object:
    large = config.large
    return large.model, large.size, large.tuning, config.engine.precision


def _items(config: Config) -> object:
    # upper bounds train on more items, but on none that no other client or task has
    scenario = config.scenario.model_copy(update={"history": "task"})
    return config.data, scenario, config.seed, _foundation(config)


def _load(config: Config) -> None:
    device = device_of(config.engine.device)
    load_foundation(config.large.model, config.large.size, device, config.engine.precision)


def _telling(job: Job, tell: Tell | None) -> Callable[[int, int], None] | None:
    return None if tell is None else lambda done, wanted: tell(job.scenario.name, done, wanted)


@contextmanager
def _named(path: Path, job: Job) -> Iterator[None]:
    """Say in a UserError which entry of which suite it is about."""
    try:
        yield
    except UserError as error:
        entry = f"scenario {job.scenario.name!r}, method {job.method.name!r}, seed {job.seed}"
        raise UserError(f"{path}: {entry}: {error}") from error
