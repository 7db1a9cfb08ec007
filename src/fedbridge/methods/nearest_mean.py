"""The nearest class mean over the frozen FM: no training and nothing to choose."""

from typing import Literal

from fedbridge.methods.analytic import Candidates, RidgeHead
from fedbridge.methods.context import SharedContext
from fedbridge.methods.spec import Head
from fedbridge.methods.sums import FromSums, SummedUp, sum_faults
from fedbridge.models.statistics import Array, SufficientStatistics


class NearestMean(FromSums):
    """The nearest class mean, from H and counts."""

    head: Literal["nearest-mean"] = "nearest-mean"


def unit_means(sums: SufficientStatistics, strength: float = 0.0) -> Array:
    """Return ``W (M, C)`` of unit class means; there is no ridge whose strength would matter."""
    return sums.nearest_mean()


def on_client(shared: SharedContext, options: NearestMean) -> RidgeHead:
    """Return a client's head, which has one candidate only."""
    return RidgeHead(shared, options.scope, Candidates((0.0,), (0.0,)), unit_means)


def on_server(shared: SharedContext, clients: tuple[str, ...], options: NearestMean) -> SummedUp:
    """Return the server's side, which adds up H and counts."""
    return SummedUp(shared, clients, options, unit_means)


HEAD = Head(
    options=NearestMean,
    client=on_client,
    server=on_server,
    sums=("cross", "counts"),
    upload_faults=sum_faults,
    solo=True,
)
