"""FedDF (Lin et al., NeurIPS 2020): an average of weights, mended by the ensemble it came from.

Adapted: a class is averaged over the models that have seen it, so that those which have not do
not speak of it; steps are counted in passes over U.
"""

from fedbridge.config import FedDF
from fedbridge.models.commons import Commons
from fedbridge.rng import seed_for
from fedbridge.server.averaging import for_everyone, group_means
from fedbridge.server.digest import Course, follow, known_to, plain
from fedbridge.server.round import Fused, Gathered, Spread


def average_and_distil(round_: Gathered, commons: Commons, options: FedDF, spread: Spread) -> Fused:
    """Average each architecture, then distil the mean logits of all models into it (FedDF, 2020).

    Algorithms 1 and 3: for every group of equal architecture the weighted mean of its models is
    trained on U towards the mean logits of all received models, of whatever architecture.
    """
    models = [student.knowledge for student in round_.students]
    classes = known_to(models, commons)
    answers = plain(models, commons)[:, classes]
    seed, means = commons.config.seed, group_means(round_.students)
    courses = [
        Course(model, state, classes, answers, seed_for(seed, "fuse", model, *round_.step))
        for model, state in means.items()
    ]
    ends = dict(zip(means, spread(follow, courses), strict=True))
    return Fused(for_everyone(ends, round_.models), [])
