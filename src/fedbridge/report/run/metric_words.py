"""What the metrics are called, and how their values are written."""

from collections.abc import Collection

from fedbridge.core import metrics
from fedbridge.core.wording import percent
from fedbridge.report.run.folder import Measures, RunRecord

METRICS = {
    name: metric.title
    for name, metric in metrics.METRICS.items()
    if not name.endswith("_retention")
}
"""What the columns of tables are called; retentions stand beside them."""
SIGNED = tuple(name for name, metric in metrics.METRICS.items() if metric.signed)


def metrics_of(run: RunRecord) -> dict[str, str]:
    """Return what the metrics are called: of an unfinished run the first is no final one."""
    own = {name: metric.title for name, metric in run.own_metrics.items()}
    return METRICS | (own if run.summary else {"final_accuracy": "accuracy so\u00a0far"})


def signed_of(run: RunRecord) -> tuple[str, ...]:
    """Return the metrics of a run that are shown with their sign."""
    return (*SIGNED, *(name for name, metric in run.own_metrics.items() if metric.signed))


def metric(measures: Measures, name: str, signed: Collection[str] = SIGNED) -> str:
    """Return one metric as a percentage, transfers and others that are ``signed`` with sign."""
    return percent(measures.value(name), signed=name in signed)
