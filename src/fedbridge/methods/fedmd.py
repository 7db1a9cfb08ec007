"""FedMD (Li and Wang, 2019, arXiv 1910.03581): models of any architecture meet in their answers.

Adapted: the server, which holds the models, does the digest step that each client does in the
paper, with the same arithmetic; and a class is averaged over the clients that have seen it.
"""

from typing import Literal

from fedbridge.methods.context import SharedContext
from fedbridge.methods.digest import Digest, equal_weight_consensus, teach_all
from fedbridge.methods.rounds import FusionResult, MapJobs, RoundUploads
from fedbridge.methods.spec import Fusion


class FedMD(Digest):
    """Every model is trained towards the mean answer of all on ``U``."""

    name: Literal["fedmd"] = "fedmd"


def agree(
    round_: RoundUploads, shared: SharedContext, options: FedMD, map_jobs: MapJobs
) -> FusionResult:
    """Train every model towards the mean answer of all on the public set (FedMD, 2019).

    Algorithm 1: the consensus is the mean of the class scores of all models; each model digests
    it on U, over the classes it has seen, and then revisits its own data in the next round.
    """
    answers = equal_weight_consensus([student.predictions for student in round_.students], shared)
    return FusionResult(teach_all(round_, answers, shared, options, map_jobs), [])


FUSION = Fusion(options=FedMD, fuse=agree, needs_public_logits=True)
