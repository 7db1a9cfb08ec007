"""FedMD (Li and Wang, 2019, arXiv 1910.03581): models of any architecture meet in their answers.

Adapted: the server, which holds the models, does the digest step that each client does in the
paper, with the same arithmetic; and a class is averaged over the clients that have seen it.
"""

from fedbridge.config import FedMD
from fedbridge.models.commons import Commons
from fedbridge.server.digest import plain, teach_all
from fedbridge.server.round import Fused, Gathered, Spread


def agree(round_: Gathered, commons: Commons, options: FedMD, spread: Spread) -> Fused:
    """Train every model towards the mean answer of all on the public set (FedMD, 2019).

    Algorithm 1: the consensus is the mean of the class scores of all models; each model digests
    it on U, over the classes it has seen, and then revisits its own data in the next round.
    """
    answers = plain([student.knowledge for student in round_.students], commons)
    return Fused(teach_all(round_, answers, commons, spread), [])
