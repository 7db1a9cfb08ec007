"""A run's beginning, wherever it is asked for: its engine, its folder, and that folder's end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from fedbridge.core.errors import UserError
from fedbridge.core.files import PARTIAL
from fedbridge.core.locks import LOCK
from fedbridge.federation.setup import require_entries
from fedbridge.methods.config import Config
from fedbridge.runs.run import (
    CONFIG,
    ENVIRONMENT,
    EVENTS,
    Run,
    exclusive_lock,
    is_environment,
    lock_of,
    names_in,
    require_free,
)
from fedbridge.runs.runner import Connect, Experiment, connect_locally
from fedbridge.runs.tracking import require_trackers

DRAFTS = {ENVIRONMENT + PARTIAL, CONFIG + PARTIAL}


@contextmanager
def launch(folder: Path, config: Config) -> Iterator[Experiment]:
    """Yield a new experiment to run; its folder is removed again if it is refused.

    From before anything is written until the end no other process can be at work in the folder.
    Raises UserError if one is, the folder is in use, or what the engine or a tracker needs is
    missing.
    """
    require_trackers(config)
    require_entries(config)
    connect = engine_of(config)
    require_free(folder, _unstarted(folder))
    made = [path for path in (folder / LOCK, folder, *folder.parents) if not path.exists()]
    with exclusive_lock(folder, lock=(lock := lock_of(folder))):
        experiment = None
        try:
            _clear_unstarted(folder)
            run = Run.create(folder, config)
            experiment = Experiment(run, connect=connect(run), lock=lock)
            yield experiment
        except UserError:
            if experiment is None or not experiment.prepared:  # nothing is left to go on with
                _clear_unstarted(folder)
                _remove(made)
            raise


def resuming(folder: Path) -> Experiment:
    """Return the experiment of a folder, to go on with from its newest whole checkpoint.

    Raises UserError if its clients, and what they have learnt, are not here.
    """
    run = Run.open(folder)
    if run.deployed:
        raise UserError(f"{folder}: this run's clients are at their sites; go on with: {run.go_on}")
    return Experiment(run, connect=engine_of(run.config)(run))


def engine_of(config: Config) -> Callable[[Run], Connect]:
    """Return what connects a run to its clients; raise UserError if what it needs is missing."""
    if config.engine.kind == "local":
        return lambda run: connect_locally
    try:
        from fedbridge.runs.simulation import connect_simulated
    except ModuleNotFoundError as error:
        raise UserError(
            f'engine.kind: "flower" needs the extra of that name, and {error.name} is not there: '
            "pip install 'fedbridge[flower]'"
        ) from error
    return lambda run: partial(connect_simulated, run)


def _unstarted(folder: Path) -> set[str]:
    """Return the names of what a run has written that failed before it could measure anything.

    Nothing if there is more, or less than a run begins with: settings alone are somebody's own.
    """
    found = names_in(folder) - {LOCK}
    begun = is_environment(folder / ENVIRONMENT) if ENVIRONMENT in found else found <= DRAFTS
    return found if begun and found <= {CONFIG, ENVIRONMENT, EVENTS, *DRAFTS} else set()


def _clear_unstarted(folder: Path) -> None:
    """Make a folder free again if its run failed before it could measure anything."""
    for name in _unstarted(folder):
        (folder / name).unlink()


def _remove(made: list[Path]) -> None:
    """Remove what was made, but no folder in which somebody else has put something since."""
    with suppress(OSError):
        for path in made:
            if path.name == LOCK:
                path.unlink()
            else:
                path.rmdir()
