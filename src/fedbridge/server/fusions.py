"""The server's ways to fuse what it received into one model per client."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fedbridge.config import Alone, Config
from fedbridge.data import DATASETS
from fedbridge.errors import UserError
from fedbridge.models.commons import Commons
from fedbridge.server.averaging import average
from fedbridge.server.feddf import average_and_distil
from fedbridge.server.fedet import through_large
from fedbridge.server.fedmd import agree
from fedbridge.server.fedproto import share_prototypes
from fedbridge.server.fedweit import average_base
from fedbridge.server.obod import one_by_one
from fedbridge.server.round import Fused, Gathered, Spread
from fedbridge.server.target import average_and_synthesise

__all__ = ["FUSIONS", "Fused", "Fusion", "Gathered", "Spread", "keep_own"]


def keep_own(round_: Gathered, commons: Commons, options: Alone, spread: Spread) -> Fused:
    """Give every client back what it uploaded."""
    return Fused({student.name: student.state for student in round_.students}, [])


class Fusion(NamedTuple):
    """A way to fuse."""

    fuse: Callable[[Gathered, Commons, Any, Spread], Fused]
    """Gets the fusion's own section of the config."""
    asks: bool = True
    """Whether it asks the models what they say of the public set."""
    common_start: bool = False
    """Whether all clients of an architecture begin with the same weights, as averages need."""
    pictures_only: bool = False
    """Whether it makes inputs, which it can for pictures only."""


FUSIONS: dict[str, Fusion] = {
    "none": Fusion(keep_own, asks=False),
    "obod": Fusion(one_by_one),
    "fedavg": Fusion(average, asks=False, common_start=True),
    "fedprox": Fusion(average, asks=False, common_start=True),
    "fedproto": Fusion(share_prototypes, asks=False),
    "fedmd": Fusion(agree),
    "feddf": Fusion(average_and_distil, common_start=True),
    "fedet": Fusion(through_large),
    "target": Fusion(average_and_synthesise, asks=False, common_start=True, pictures_only=True),
    "fedweit": Fusion(average_base, asks=False, common_start=True),
}


def require_pictures(config: Config, modality: str | None = None) -> None:
    """Raise UserError if the fusion makes inputs and the data, as far as is known, are texts."""
    name = config.data.name
    if modality is None and name in DATASETS:
        modality = DATASETS[name].modality
    if FUSIONS[config.fusion.name].pictures_only and modality == "text":
        raise UserError(
            f"fusion.name: {config.fusion.name!r} synthesises inputs, so the data must be "
            f"pictures, found {name!r}, which is text"
        )
