"""Where a run is written down besides its own folder."""

from typing import Literal

from fedbridge.config.section import Section

Tracker = Literal["tensorboard", "mlflow", "wandb"]


class Track(Section):
    """Where a run is written down besides its own folder; no number depends on it."""

    to: tuple[Tracker, ...] = ()
    """Any of ``tensorboard``, ``mlflow`` and ``wandb``, each with its extra. Nothing leaves this
    machine unless you have configured where MLflow or Weights & Biases send it."""
