"""Where a run is written down besides its own folder."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from fedbridge.config.section import Section
from fedbridge.core.entries import FORM, is_own

Tracker = Literal["tensorboard", "mlflow", "wandb"]


def _own(name: str) -> str:
    if not is_own(name):
        raise ValueError(f"must be {FORM}; the metrics of fedbridge list metrics are always there")
    return name


Own = Annotated[str, AfterValidator(_own)]


class Track(Section):
    """Where a run is written down besides its own folder; no number depends on it."""

    to: tuple[Tracker, ...] = ()
    """Any of ``tensorboard``, ``mlflow`` and ``wandb``, each with its extra. Nothing leaves this
    machine unless you have configured where MLflow or Weights & Biases send it."""
    metrics: tuple[Own, ...] = ()
    """Metrics of one's own beside ours, each a ``Metric`` of ``fedbridge.core.metrics``, written
    ``MODULE:NAME``."""
