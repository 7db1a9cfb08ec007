"""The progress of a run after a step: how far it is, and how accurate."""

from dataclasses import dataclass

from fedbridge.core.metrics import PREDICTORS, PROTOCOLS, AccuracyRow
from fedbridge.wire import Step


@dataclass
class Progress:
    """What a run has to tell after a step."""

    step: Step
    done: int
    total: int
    rows: list[AccuracyRow]
    bytes_up: int = 0
    bytes_down: int = 0
    refused: int = 0
    """Uploads that were not taken in so far."""

    def means(self, client: str | None = None) -> dict[str, float]:
        """Return each predictor's mean class-incremental accuracy on past tasks so far.

        Of all clients, or of one; nothing before the first measurement.
        """
        latest = {row.client: row.after_task for row in self.rows}
        found: dict[str, list[float]] = {predictor: [] for predictor in PREDICTORS}
        for row in self.rows:
            past = row.after_task == latest[row.client] >= row.on_task
            if past and row.protocol == PROTOCOLS[0] and client in (None, row.client):
                found[row.predictor].append(row.accuracy)
        return {p: sum(values) / len(values) for p, values in found.items() if values}

    def accuracy(self) -> str:
        """Return the means of all clients as a line."""
        parts = [f"{predictor} {100 * mean:.1f}" for predictor, mean in self.means().items()]
        return ", ".join(parts) + " %" if parts else ""
