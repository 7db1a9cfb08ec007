"""What the numbers of a run mean: a sentence for each, with its formula and its source."""

from collections.abc import Iterator

from fedbridge.core.metrics import PROTOCOLS
from fedbridge.core.wording import UNKNOWN, percent
from fedbridge.report.run.folder import RunRecord
from fedbridge.report.run.reached import Reached

MEANING = {
    "final_accuracy": (
        "right answers among the test items of all tasks learnt so far, every task counting alike; "
        "of a finished run, at the end: mean over j of A(T, j)."
    ),
    "average_incremental_accuracy": (
        "the same after every task, averaged over the stream: mean over i of the mean over j ≤ i "
        "of A(i, j)."
    ),
    "forgetting": (
        "how far a task lies at the end below its best before, the last task left out: mean over "
        "j < T of max A(i, j) − A(T, j), i from j to T − 1. Below 0, tasks ended better than they "
        "had ever been."
    ),
    "backward_transfer": (
        "what later tasks did to earlier ones: mean over j < T of A(T, j) − A(j, j). Below 0 they "
        "lost, above 0 they got better after they had been learnt."
    ),
    "forward_transfer": (
        "how much better a task is answered just before it is learnt than by the untrained model: "
        "mean over j > 1 of A(j − 1, j) − A(0, j). Below 0, earlier tasks stand in its way."
    ),
}
"""Of each metric; ``A(i, j)`` is a client's accuracy after its task i on its task j of T."""
RETENTION = {
    "temporal_retention": (
        "over time",
        "what the small models still know of the first task at the end: mean over clients of "
        "A(T, 1) / A(1, 1), KR_t of arXiv 2312.16475. At 100 % nothing is lost; above, the task "
        "got better after it had been learnt.",
    ),
    "spatial_retention": (
        "across clients",
        "how much the large side knows of what the small models know of the newest task: mean over "
        "clients of A(T, T) of large / A(T, T) of small, KR_s of arXiv 2312.16475. Above 100 %, "
        "the large side knows more of it.",
    ),
}
"""Of each retention of knowledge: what it is over, and what it means."""


def retention(run: RunRecord) -> dict[str, float | None]:
    """Return both retentions of a run; of an unfinished one, on the tasks so far."""
    if run.summary:
        return {name: getattr(run.summary, name) for name in RETENTION}
    return {
        "temporal_retention": run.measures("small", PROTOCOLS[0]).temporal_retention,
        "spatial_retention": run.measures("large", PROTOCOLS[0]).spatial_retention,
    }


def remarks(run: RunRecord, stand: Reached) -> list[str]:
    """Return what is to be said below the table of a run, as lines."""
    found = [f"error: {stand.reason}"] if stand.state == "failed" else []
    known = {name: value for name, value in retention(run).items() if value is not None}
    if known:
        numbers = [f"{percent(value)} % {RETENTION[name][0]}" for name, value in known.items()]
        found.append(f"knowledge retention {', '.join(numbers)}")
    if "temporal_retention" in known:
        found.append("over time: first task at the end / when learnt; above 100 % it rose")
    if "spatial_retention" in known:
        found.append("across clients: newest task, large / small; above 100 % large leads")
    return [*found, *_own(run)]


def _own(run: RunRecord) -> Iterator[str]:
    """Yield what the run's own metrics are, for which the table has no room."""
    for name, own in run.own_metrics.items():
        values = {p: run.measures(p, PROTOCOLS[0]).value(name) for p in run.predictors}
        told = [f"{p} {percent(v, own.signed)}" for p, v in values.items() if v is not None]
        yield f"{own.title}: {', '.join(told) or UNKNOWN}" + (" %" if told else "")
