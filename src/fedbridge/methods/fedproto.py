"""FedProto (Tan et al., AAAI 2022): clients share class prototypes and keep their models.

Adapted: embeddings live on the unit sphere of the shared space and classes are told apart by the
fixed anchors, not by the nearest prototype.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from fedbridge.config.section import Options, Scale
from fedbridge.methods.context import OwnItems, SharedContext
from fedbridge.methods.counting import ROUNDING, count_faults
from fedbridge.methods.rounds import FusionResult, MapJobs, RoundUploads
from fedbridge.methods.spec import Extra, Fusion
from fedbridge.models.small.space import embed
from fedbridge.wire import State, Upload


class FedProto(Options):
    """Class prototypes are averaged, and models stay personal."""

    name: Literal["fedproto"] = "fedproto"
    pull: Scale = 1.0
    """Weight ``lambda`` of an embedding's squared distance to the prototype of its class."""


def share_prototypes(
    round_: RoundUploads, shared: SharedContext, options: FedProto, map_jobs: MapJobs
) -> FusionResult:
    """Average class prototypes over the clients and share them (FedProto, AAAI 2022).

    Eq. 3 and 4: the mean embedding of a class over all items of the clients that have it in this
    task, each client weighted by its number of items. Classes that nobody has at present keep the
    prototype they had; a class never met is a row of zeros in ``shared["prototypes"] (C, P)``.
    """
    size = (len(shared.classes), shared.config.small.dimension)
    before = round_.notes.get("prototypes", torch.zeros(size))
    tables = [s.extra["prototypes"].double() for s in round_.students if s.extra]
    prototypes = before
    if tables:
        sums = torch.stack(tables).sum(0)
        total, counts = sums[:, :-1], sums[:, -1:]
        prototypes = torch.where(counts > 0, (total / counts.clamp(min=1)).float(), before)
    round_.notes["prototypes"] = prototypes
    states = {student.name: student.state for student in round_.students}
    return FusionResult(states, [], {"prototypes": prototypes})


def pulled(received: State, options: FedProto, embedding: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared distance of embeddings to the prototypes of their classes (eq. 6).

    Classes that have no prototype yet count as near.
    """
    if "prototypes" not in received:
        return embedding.new_zeros(())
    aim = received["prototypes"][labels]
    known = aim.abs().sum(1, keepdim=True) > 0
    return options.pull * ((embedding - aim).square() * known).sum(1).mean()


def shapes(shared: SharedContext, options: FedProto) -> dict[str, tuple[int, ...]]:
    """Return that of a row for every class: the sum of embeddings, and their number."""
    return {"prototypes": (len(shared.classes), shared.config.small.dimension + 1)}


def prototypes(own: OwnItems, options: FedProto) -> State:
    """Sum the task's embeddings by class and count them, ``(C, P + 1)``; of too few, none leave."""
    embedding = embed(own.model, own.inputs).cpu()
    rows = torch.cat([embedding, torch.ones(len(embedding), 1)], 1)
    table = torch.zeros(len(own.shared.classes), rows.shape[1])
    table = table.index_add(0, own.labels.cpu(), rows)
    return {"prototypes": table * (table[:, -1:] >= own.shared.config.large.min_class_items)}


def faults(upload: Upload, shared: SharedContext, options: FedProto) -> Iterator[str]:
    """Yield what no honest client could have summed: other counts, or longer sums than counts."""
    table = upload.extra["prototypes"]
    counts = table[:, -1]
    yield from count_faults("prototypes", counts, upload, shared.config.large.min_class_items == 1)
    lengths = table[:, :-1].double().norm(dim=1)
    if (lengths > counts * (1 + ROUNDING)).any():
        yield f"prototypes: must sum unit vectors, found a length of {lengths.max():g}"


FUSION = Fusion(
    options=FedProto,
    fuse=share_prototypes,
    loss=pulled,
    extra=Extra(shapes, make=prototypes, check=faults),
)
