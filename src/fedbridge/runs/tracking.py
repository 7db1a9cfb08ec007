"""Writes a run down elsewhere as well: TensorBoard, MLflow, Weights & Biases.

A tracker takes numbers by name after every step and results at the end. One that fails is left
out with a warning: no run ends because of it.
"""

import logging
import netrc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from fedbridge.config.flat import settings_of
from fedbridge.core.errors import UserError
from fedbridge.core.files import read_json
from fedbridge.core.locks import holding, lock_at
from fedbridge.methods.config import Config
from fedbridge.runs.progress import Progress
from fedbridge.runs.run import SUMMARY, Run

Numbers = dict[str, float]
End = Literal["finished", "failed", "stopped"]
log = logging.getLogger(__name__)
MOST_PARAMS = 100  # MLflow takes no more at once


class Tracker(Protocol):
    """Where numbers go."""

    def log(self, step: int, numbers: Numbers) -> None:
        """Record the numbers of a step, counted from 1."""

    def close(self, end: End, results: Numbers) -> None:
        """Record how the run ended, with its results."""


class TensorBoard:
    """Event files in the run's folder, in ``tensorboard``."""

    def __init__(self, run: Run, settings: dict[str, Any], done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = str(run.folder / "tensorboard")
        # steps that are done again after a resume hide those that were written before
        self.writer: Any = SummaryWriter(folder, purge_step=done + 1)
        lines = "\n".join(f"| {key} | {value} |" for key, value in settings.items())
        self.writer.add_text("settings", f"| setting | value |\n|---|---|\n{lines}", done)
        self.step = done

    def log(self, step: int, numbers: Numbers) -> None:
        """Write scalars."""
        self.step = step
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self, end: End, results: Numbers) -> None:
        """Write the results as scalars of the last step."""
        for name, value in results.items():
            self.writer.add_scalar(name, value, self.step)
        self.writer.close()


class MLflow:
    """A run of the experiment ``fedbridge``: where MLFLOW_TRACKING_URI says, or beside the run."""

    def __init__(self, run: Run, settings: dict[str, Any], done: int) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        beside, self.step = run.folder.resolve().parent, done
        # runs of a bench may all want to make the store
        with holding(lock_at(beside / ".mlflow.lock")):
            store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{beside / 'mlflow.db'}"
            self.client = MlflowClient(store)
            self.id = self._open(run, settings)

    def _open(self, run: Run, settings: dict[str, Any]) -> str:
        """Return the id of the run there, which a resumed run has already."""
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "fedbridge"
        known = self.client.get_experiment_by_name(name)
        place = known.experiment_id if known else self.client.create_experiment(name)
        found = self.client.search_runs([place], f"tags.`fedbridge.run` = '{run.token}'")
        tags = {"fedbridge.run": run.token, "fedbridge.folder": run.folder.name}
        own = found[0] if found else self.client.create_run(place, run_name=_title(run), tags=tags)
        number = str(own.info.run_id)
        self.client.update_run(number, status="RUNNING")
        params = [Param(key, str(value)) for key, value in settings.items()]
        for start in () if found else range(0, len(params), MOST_PARAMS):
            self.client.log_batch(number, params=params[start : start + MOST_PARAMS])
        return number

    def log(self, step: int, numbers: Numbers) -> None:
        """Write metrics, all at once."""
        from mlflow.entities import Metric

        self.step, now = step, int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in numbers.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def close(self, end: End, results: Numbers) -> None:
        """Write the results as metrics and end the run."""
        if results:
            self.log(self.step, results)
        status = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}[end]
        self.client.set_terminated(self.id, status)


class WandB:
    """A run of Weights & Biases in the run's folder, offline unless the user has logged in."""

    def __init__(self, run: Run, settings: dict[str, Any], done: int) -> None:
        import wandb

        quiet: dict[str, Any] = {"console": "off", "silent": True, "x_disable_stats": True}
        secret: dict[str, Any] = {
            "x_disable_meta": True,
            "x_disable_machine_info": True,
            "host": "",
        }
        nothing: dict[str, Any] = {
            "disable_git": True,
            "disable_code": True,
            "save_code": False,
            "x_save_requirements": False,
        }
        self.run = wandb.init(
            id=run.token,
            name=_title(run),
            project=os.environ.get("WANDB_PROJECT") or "fedbridge",
            dir=str(run.folder),
            mode=_wandb_mode(),
            resume="allow",
            config=settings,
            settings=wandb.Settings(**quiet, **secret, **nothing),
        )

    def log(self, step: int, numbers: Numbers) -> None:
        """Write a line of history."""
        self.run.log(numbers, step=step)

    def close(self, end: End, results: Numbers) -> None:
        """Write the results into the summary."""
        self.run.summary.update({**results, "end": end})
        self.run.finish(exit_code=0 if end == "finished" else 1)


TRACKERS: dict[str, Callable[[Run, dict[str, Any], int], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


class Forgiving:
    """A tracker that is opened with its first numbers and left out once it fails."""

    def __init__(self, name: str, run: Run) -> None:
        self.name = name
        self.run = run
        self.tracker: Tracker | None = None
        self.failed = False

    def log(self, progress: Progress) -> None:
        """Pass the numbers of a step on."""
        with self._forgiven():
            if self.tracker is None and not self.failed:
                known = {"seed": self.run.config.seed, **settings_of(self.run.config)}
                self.tracker = TRACKERS[self.name](self.run, known, progress.done - 1)
            if self.tracker is not None:
                self.tracker.log(progress.done, numbers_of(progress))

    def close(self, end: End) -> None:
        """Pass on how the run ended."""
        with self._forgiven():
            if self.tracker is not None:
                self.tracker.close(end, results_of(self.run))

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.tracker, self.failed = None, True
            words = f"{self.name} is left out from here on: {type(error).__name__}: {error}"
            self.run.event("warning", message=words)
            log.warning("%s", words)


def require_trackers(config: Config) -> None:
    """Raise UserError, before any work, if the extra of a tracker that is asked for is missing."""
    for name in config.track.to:
        if find_spec(name) is None:
            raise UserError(
                f'track.to: "{name}" needs the extra of that name: pip install "fedbridge[{name}]"'
            )


@contextmanager
def tracking(run: Run) -> Iterator[Callable[[Progress], None]]:
    """Yield what to call after every step; it reports to all trackers that the settings name.

    Raises UserError if the extra of one is missing. A run that is refused leaves no trace.
    """
    require_trackers(run.config)
    trackers = [Forgiving(name, run) for name in dict.fromkeys(run.config.track.to)]

    def track(progress: Progress) -> None:
        for tracker in trackers:
            tracker.log(progress)

    end: End = "stopped"
    try:
        yield track
        end = "finished"
    except Exception:
        end = "failed"
        raise
    finally:
        for tracker in trackers:
            tracker.close(end)


def numbers_of(progress: Progress) -> Numbers:
    """Return what a step has to tell, by name: class-incremental accuracies and costs so far."""
    accuracies = {f"accuracy/{name}": mean for name, mean in progress.means().items()}
    traffic = {"bytes/up": progress.bytes_up, "bytes/down": progress.bytes_down}
    return {**accuracies, **traffic, "refused": progress.refused}


def results_of(run: Run) -> Numbers:
    """Return the metrics and the seconds of a finished run by name; nothing of another."""
    path = run.folder / SUMMARY
    if not path.is_file():
        return {}
    summary = read_json(path, "summary")
    found = {
        f"{protocol}/{predictor}/{metric}": value
        for predictor, protocols in summary["results"].items()
        for protocol, metrics in protocols.items()
        for metric, value in metrics.items()
    }
    found |= {f"seconds/{phase}": seconds for phase, seconds in summary["seconds"].items()}
    return {name: value for name, value in found.items() if value is not None}


def _title(run: Run) -> str:
    return f"{run.config.name}, {run.config.data.name}, seed {run.config.seed}"


def _wandb_mode() -> Literal["online", "offline", "shared", "disabled"]:
    """Return what WANDB_MODE says, or offline unless there is a login."""
    chosen: Any = os.environ.get("WANDB_MODE")
    if chosen:
        return chosen  # type: ignore[no-any-return]
    address = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    with suppress(OSError, netrc.NetrcParseError):
        if netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(address).hostname or ""):
            return "online"
    return "online" if os.environ.get("WANDB_API_KEY") else "offline"
