"""What the metrics are called, and how their values are written."""

from fedbridge.report.folder import Measures, Run
from fedbridge.report.wording import percent

METRICS = {
    "final_accuracy": "final accuracy",
    "average_incremental_accuracy": "average incremental",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "forward_transfer": "forward transfer",
}
SIGNED = ("backward_transfer", "forward_transfer")


def metrics_of(run: Run) -> dict[str, str]:
    """Return what the metrics are called: of an unfinished run the first is no final one."""
    return METRICS if run.summary else METRICS | {"final_accuracy": "accuracy so\u00a0far"}


def metric(measures: Measures, name: str) -> str:
    """Return one metric of ``METRICS`` as a percentage, transfers with their sign."""
    return percent(getattr(measures, name), signed=name in SIGNED)
