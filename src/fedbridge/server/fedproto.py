"""FedProto (Tan et al., AAAI 2022): clients share class prototypes and keep their models.

The clients' part, the distance to the prototypes in every loss (eq. 5 and 6), is in
``Lesson.supervised``. Adapted: embeddings live on the unit sphere of the shared space and classes
are told apart by the fixed anchors, not by the nearest prototype.
"""

import torch

from fedbridge.config import FedProto
from fedbridge.models.commons import Commons
from fedbridge.server.round import Fused, Gathered, Spread


def share_prototypes(
    round_: Gathered, commons: Commons, options: FedProto, spread: Spread
) -> Fused:
    """Average class prototypes over the clients and share them (FedProto, AAAI 2022).

    Eq. 3 and 4: the mean embedding of a class over all items of the clients that have it in this
    task, each client weighted by its number of items. Classes that nobody has at present keep the
    prototype they had; a class never met is a row of zeros in ``shared["prototypes"] (C, P)``.
    """
    size = (len(commons.classes), commons.config.small.dimension)
    before = round_.notes.get("prototypes", torch.zeros(size))
    tables = [s.prototypes.double() for s in round_.students if len(s.prototypes)]
    prototypes = before
    if tables:
        sums = torch.stack(tables).sum(0)
        total, counts = sums[:, :-1], sums[:, -1:]
        prototypes = torch.where(counts > 0, (total / counts.clamp(min=1)).float(), before)
    round_.notes["prototypes"] = prototypes
    states = {student.name: student.state for student in round_.students}
    return Fused(states, [], {"prototypes": prototypes})
