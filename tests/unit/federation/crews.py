"""Stand-in clients for tests of the engine: they do arithmetic instead of learning."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedbridge.core.errors import UserError
from fedbridge.core.projection import Sample
from fedbridge.federation.workers import WorkerState
from fedbridge.wire import Broadcast, Evaluation, Upload


@dataclass
class Echo:
    """Uploads what it was sent plus what it remembers; one task is its last."""

    name: str
    sum: float = 0.0
    held: float = 0.0
    """What it was last sent; a message may leave out what it already has."""

    def learn(self, broadcast: Broadcast) -> Upload:
        if broadcast.task == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if broadcast.task == 12:
            raise UserError(f"{self.name}: no twelfth task, found 12")
        self._take(broadcast)
        self.sum += self.held
        state = {"x": torch.full((3,), self.sum)}
        return Upload(self.name, broadcast.task, broadcast.round, state, (1, 2))

    def evaluate(self, broadcast: Broadcast) -> Evaluation:
        self._take(broadcast)
        rows = ((1, "small", "task-aware", int(self.sum), os.getpid()),)
        return Evaluation(self.name, broadcast.task, rows)

    def sample(self, most: int) -> Sample:
        return np.arange(most), np.full((most, 2), self.sum, np.float32)

    def save(self, folder: Path) -> None:
        (folder / self.name).write_text(f"{self.sum} {self.held}")

    def load(self, folder: Path) -> None:
        self.sum, self.held = map(float, (folder / self.name).read_text().split())

    def _take(self, broadcast: Broadcast) -> None:
        if broadcast.state:
            self.held = float(broadcast.state["x"].sum())


def build(names: tuple[str, ...]) -> WorkerState:
    shared: Any = "commons"
    return WorkerState(shared, {name: Echo(name) for name in names})  # type: ignore[misc]


def build_nothing(names: tuple[str, ...]) -> WorkerState:
    raise UserError(f"data: nothing for {names[0]}")


def join(shared: Any, job: int) -> str:
    return f"{shared} {job}"


def send(task: int, round_: int = 1, **values: float) -> dict[str, Broadcast]:
    return {n: Broadcast(task, round_, {"x": torch.tensor([v])}) for n, v in values.items()}
