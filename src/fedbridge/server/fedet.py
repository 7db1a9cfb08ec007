"""Fed-ET (Cho et al., IJCAI 2022): an ensemble of small models trains a large one, and back.

Adapted: the large model is a linear head on the frozen FM's features of U, trained there alone
and kept in the fusion's notes; no sums of private features enter it. The paper hands layers of
the large model back to the small ones; here, where no layers are shared, its answers on U are
distilled into each of them, as in FedGKT (He et al., NeurIPS 2020). A model speaks of the classes
it has seen only.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from fedbridge.config import FedET
from fedbridge.losses import divergence
from fedbridge.models.commons import Commons
from fedbridge.models.optimiser import Uncompiled
from fedbridge.models.states import owned
from fedbridge.rng import seed_for
from fedbridge.server.digest import batches, consensus, known_to, teach_all
from fedbridge.server.knowledge import Knowledge
from fedbridge.server.round import Fused, Gathered, Spread


def through_large(round_: Gathered, commons: Commons, options: FedET, spread: Spread) -> Fused:
    """Distil the small models into a large head on U, and the head into each (Fed-ET, 2022)."""
    if not round_.students:
        return Fused({}, [])
    features = owned(torch.from_numpy(commons.public_features)).to(commons.device)
    empty = torch.zeros(features.shape[1], len(commons.classes))
    start = round_.notes.get("head", empty).to(commons.device)
    models = [student.knowledge for student in round_.students]
    seed = seed_for(commons.config.seed, "fuse", "large", *round_.step)
    generator = torch.Generator().manual_seed(seed)
    head = enlarge(start, models, commons, options, generator)
    round_.notes["head"] = head.cpu()
    return Fused(teach_all(round_, features @ head, commons, spread), [])


def enlarge(
    start: Tensor,
    models: list[Knowledge],
    commons: Commons,
    options: FedET,
    generator: torch.Generator,
) -> Tensor:
    """Return the head ``(M, C)`` after its training on U towards the ensemble; if that diverges,
    the one before.

    Cross entropy with the ensemble's class, plus ``diversity`` times the divergence from what the
    models say that are of another opinion, where there are any.
    """
    known = known_to(models, commons)
    verdict, dissent, heard = opinions(models, commons)
    features = owned(torch.from_numpy(commons.public_features)).to(commons.device)
    head = start.clone().requires_grad_()
    optimiser = Uncompiled([head], lr=options.large_rate, weight_decay=0.0)
    for u in batches(commons, options.large_epochs, options.batch, generator):
        logits = (features[u] @ head)[:, known]
        loss = F.cross_entropy(logits, torch.searchsorted(known, verdict[u]))
        gap = heard[u] * divergence(dissent[u][:, known], logits)
        loss = loss + options.diversity * gap.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.detach() if head.isfinite().all() else start


def opinions(models: list[Knowledge], commons: Commons) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ensemble's classes ``(|U|,)``, the dissenters' logits, and where there are any.

    Eq. 3: each model's logits are weighted by their variance on the item, a measure of how sure
    it is. The dissenters are the models whose best class is not the ensemble's, weighted alike.
    """
    answers = [_answers(model, commons) for model in models]
    weights = torch.stack([logits.var(1, unbiased=False) for _, logits in answers])
    weights = weights.clamp(min=1e-6)  # a model of one class has no variance
    verdict = consensus(models, commons, weights).argmax(1)
    differs = torch.stack([classes[logits.argmax(1)] != verdict for classes, logits in answers])
    dissent = consensus(models, commons, weights * differs)
    return verdict, dissent, differs.any(0)


def _answers(model: Knowledge, commons: Commons) -> tuple[Tensor, Tensor]:
    classes = known_to([model], commons)
    return classes, commons.logits(model.embedding, classes)
