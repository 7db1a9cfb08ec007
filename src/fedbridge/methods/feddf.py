"""FedDF (Lin et al., NeurIPS 2020): an average of weights, mended by the ensemble it came from.

Adapted: a class is averaged over the models that have seen it, so that those which have not do
not speak of it; steps are counted in passes over U.
"""

from typing import Literal

from fedbridge.core.rng import seed_for
from fedbridge.methods.averaging import for_everyone, group_means
from fedbridge.methods.context import SharedContext
from fedbridge.methods.digest import Course, Digest, equal_weight_consensus, follow, known_to
from fedbridge.methods.rounds import FusionResult, MapJobs, RoundUploads
from fedbridge.methods.spec import Fusion


class FedDF(Digest):
    """Averages within each architecture, trained towards the mean answer of all on ``U``."""

    name: Literal["feddf"] = "feddf"


def average_and_distil(
    round_: RoundUploads, shared: SharedContext, options: FedDF, map_jobs: MapJobs
) -> FusionResult:
    """Average each architecture, then distil the mean logits of all models into it (FedDF, 2020).

    Algorithms 1 and 3: for every group of equal architecture the weighted mean of its models is
    trained on U towards the mean logits of all received models, of whatever architecture.
    """
    models = [student.predictions for student in round_.students]
    classes = known_to(models, shared)
    answers = equal_weight_consensus(models, shared)[:, classes]
    seed, means = shared.config.seed, group_means(round_.students)
    courses = [
        Course(model, state, classes, answers, seed_for(seed, "fuse", model, *round_.step), options)
        for model, state in means.items()
    ]
    ends = dict(zip(means, map_jobs(follow, courses), strict=True))
    return FusionResult(for_everyone(ends, round_.models), [])


FUSION = Fusion(options=FedDF, fuse=average_and_distil, needs_public_logits=True, shared_init=True)
