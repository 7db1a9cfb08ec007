"""What the command line does, as functions: runs are started, resumed, read and compared."""

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedbridge.core.errors import UserError
from fedbridge.core.files import file_name, read_json
from fedbridge.core.metrics import AccuracyRow
from fedbridge.core.saved import saved_kind
from fedbridge.inference import KIND as PREDICTOR
from fedbridge.inference import Predictor, load_predictor
from fedbridge.inference.restore import is_site, predictor_of_run, predictor_of_site
from fedbridge.inference.solo import KIND as CLIENT
from fedbridge.inference.solo import Client
from fedbridge.methods.config import Config
from fedbridge.methods.files import merged, parse_config, read_tree
from fedbridge.report.inspection import Inspection, inspect_config, inspect_file
from fedbridge.report.run import compare_markdown, result_table, write_page
from fedbridge.report.run.folder import read_run
from fedbridge.report.run.reached import Reached, reached
from fedbridge.runs.estimate import Estimate, estimate
from fedbridge.runs.launch import launch, resuming
from fedbridge.runs.live import told
from fedbridge.runs.progress import Progress
from fedbridge.runs.run import CONFIG, SUMMARY, Run, is_finished, read_accuracy
from fedbridge.runs.runner import Experiment

if TYPE_CHECKING:
    from rich.table import Table

log = logging.getLogger(__name__)
Settings = Config | dict[str, Any] | str | Path
Tell = Callable[[Progress], None]
"""Called after every round; ``progress.accuracy()`` states the accuracy so far in words."""


class Result:
    """A run's folder, finished or not; nothing of it is kept in memory."""

    def __init__(self, folder: str | Path) -> None:
        """Raise UserError if there is no run in the folder."""
        self.folder = Path(folder)
        self.config = Run.open(self.folder).config

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return is_finished(self.folder)

    @property
    def summary(self) -> dict[str, Any]:
        """Return the final numbers; raise UserError if the run is not finished."""
        if not self.finished:
            raise UserError(
                f"{self.folder}: this run is not finished; go on with fedbridge.resume, or take "
                "from results what is known so far"
            )
        return read_json(self.folder / SUMMARY, "summary")

    @property
    def results(self) -> dict[str, Any]:
        """Return all metrics by predictor and protocol, of an unfinished run as known so far."""
        known = read_run(self.folder).results
        return {p: {q: m.model_dump() for q, m in of.items()} for p, of in known.items()}

    @property
    def reached(self) -> Reached:
        """Return how far the run has come: ``state``, steps ``done`` of ``total``, ``words``."""
        return reached(read_run(self.folder))

    @property
    def accuracy(self) -> list[AccuracyRow]:
        """Return all measurements so far."""
        return read_accuracy(self.folder)

    @property
    def clients(self) -> tuple[str, ...]:
        """Return the names of the clients that were measured."""
        return tuple(dict.fromkeys(row.client for row in self.accuracy))

    def predictor(self, client: str | None = None) -> Predictor:
        """Return what a client predicts with after the newest checkpoint."""
        return predictor_of_run(self.folder, client)

    def report(self) -> Path:
        """Write the run's page, as far as it has come, and return its path."""
        return write_page(self.folder)

    def table(self) -> "Table":
        """Return the table of ``fedbridge report``, which ``rich.print`` shows."""
        return result_table(self.folder)

    def __repr__(self) -> str:
        state = "finished" if self.finished else "not finished"
        return f"Result({str(self.folder)!r}, {state})"


def run(
    config: Settings, out: str | Path | None = None, tell: Tell | None = None, **settings: Any
) -> Result:
    """Run an experiment and return its result.

    ``config`` is a TOML file, a tree of settings or a Config; ``settings`` are laid over it:
    ``seed=3``, ``training={"rounds": 2}``. ``out`` is a new or empty folder, by default
    ``runs/NAME``, of the file or the method. Raises UserError naming file, field and rule.
    """
    found = config_of(config, settings)
    name = Path(config).stem if isinstance(config, str | Path) else file_name(found.name)
    folder = Path(out) if out is not None else Path("runs") / name
    with launch(folder, found) as experiment:
        return _conducted(experiment, tell)


def resume(folder: str | Path, tell: Tell | None = None) -> Result:
    """Resume a run from its newest whole checkpoint; one that is finished stays as it is."""
    result = Result(folder)
    return result if result.finished else _conducted(resuming(result.folder), tell)


def load(folder: str | Path, trust: Collection[str] = ()) -> Result | Predictor | Client:
    """Return what a folder holds: a run, a saved predictor or a saved client.

    What was saved may come from someone else: a model that is a function, whose module would be
    imported, must be named in ``trust``, as in ``["my_model:tiny"]``. Of a site's folder in a
    deployment it is the predictor of that site's client. Raises UserError
    if it is none of these, damaged, or names a function that is not trusted.
    """
    path = Path(folder)
    kind = saved_kind(path)
    if kind == CLIENT:
        return Client.load(path, trust)
    if kind == PREDICTOR:
        return load_predictor(path, trust=trust)
    if is_site(path):
        return predictor_of_site(path)
    if not (path / CONFIG).is_file():
        raise UserError(
            f"{path}: must hold a run, a saved predictor or a saved client, found "
            f"{kind or 'none of them'}"
        )
    return Result(path)


def check(config: Settings, download: bool = False, **settings: Any) -> Estimate:
    """Validate settings and estimate what a run would cost; nothing is run."""
    return estimate(config_of(config, settings), download)


def inspect(config: Settings, common: str | Path | None = None, **settings: Any) -> Inspection:
    """Look at the data before a run: classes, splits, what is twice, broken or doubtful.

    ``config`` is what ``run`` takes, or a site's ``site.toml``, whose common config is
    ``config.toml`` beside it unless another is given. Raises UserError if the data cannot be
    read at all; what a run could not use is in the result's ``unusable``.
    """
    if isinstance(config, str | Path) and not settings:
        return inspect_file(Path(config), Path(common) if common is not None else None)
    return inspect_config(config_of(config, settings))


def compare(folders: Sequence[str | Path]) -> str:
    """Return a comparison of runs as Markdown; seeds of one method are averaged."""
    return compare_markdown([Path(folder) for folder in folders])


def config_of(config: Settings, settings: dict[str, Any]) -> Config:
    """Return settings with others laid over them; raise UserError if they do not fit."""
    source = "config"
    if isinstance(config, str | Path):
        tree, source = read_tree(Path(config)), str(config)
    elif isinstance(config, Config):
        tree = config.model_dump(mode="json", exclude_none=True)
    else:
        tree = config
    return parse_config(merged(tree, settings), source)


def _conducted(experiment: Experiment, tell: Tell | None) -> Result:
    with told(experiment, log.info) as say:
        for progress in experiment.run_steps():
            say(progress)
            if tell is not None:
                tell(progress)
    return Result(experiment.run.folder)
