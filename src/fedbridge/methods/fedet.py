"""Fed-ET (Cho et al., IJCAI 2022): an ensemble of small models trains a large one, and back.

Adapted: the large model is a linear head on the frozen FM's features of U, trained there alone
and kept in the fusion's notes; no sums of private features enter it. The paper hands layers of
the large model back to the small ones; here, where no layers are shared, its answers on U are
distilled into each of them, as in FedGKT (He et al., NeurIPS 2020). A model speaks of the classes
it has seen only.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fedbridge.config import Settings
from fedbridge.config.section import Positive, Rate, Weight
from fedbridge.core.losses import divergence
from fedbridge.core.rng import seed_for
from fedbridge.core.states import owned
from fedbridge.methods.context import SharedContext
from fedbridge.methods.digest import Digest, batches, consensus, known_to, teach_all
from fedbridge.methods.rounds import FusionResult, MapJobs, PublicPredictions, RoundUploads
from fedbridge.methods.spec import Fusion
from fedbridge.models.optimiser import Uncompiled


class FedET(Digest):
    """A large head on the FM's features of ``U`` learns from all models, and they from it."""

    name: Literal["fedet"] = "fedet"
    diversity: Weight = 0.05
    """Weight of what models say that do not agree with the ensemble."""
    large_epochs: Positive = 10
    """Passes over ``U`` per round of the large head."""
    large_lr: Rate = 0.001
    """Learning rate of AdamW for the large head."""


def through_large(
    round_: RoundUploads, shared: SharedContext, options: FedET, map_jobs: MapJobs
) -> FusionResult:
    """Distil the small models into a large head on U, and the head into each (Fed-ET, 2022)."""
    if not round_.students:
        return FusionResult({}, [])
    features = owned(torch.from_numpy(shared.public_features)).to(shared.device)
    empty = torch.zeros(features.shape[1], len(shared.classes))
    start = round_.notes.get("head", empty).to(shared.device)
    models = [student.predictions for student in round_.students]
    seed = seed_for(shared.config.seed, "fuse", "large", *round_.step)
    generator = torch.Generator().manual_seed(seed)
    head = train_large_head(start, models, shared, options, generator)
    round_.notes["head"] = head.cpu()
    return FusionResult(teach_all(round_, features @ head, shared, options, map_jobs), [])


def train_large_head(
    start: Tensor,
    models: list[PublicPredictions],
    shared: SharedContext,
    options: FedET,
    generator: torch.Generator,
) -> Tensor:
    """Return the head ``(M, C)`` after its training on U towards the ensemble; if that diverges,
    the one before.

    Cross entropy with the ensemble's class, plus ``diversity`` times the divergence from what the
    models say that are of another opinion, where there are any.
    """
    known = known_to(models, shared)
    verdict, dissent, heard = opinions(models, shared)
    features = owned(torch.from_numpy(shared.public_features)).to(shared.device)
    head = start.clone().requires_grad_()
    optimiser = Uncompiled([head], lr=options.large_lr, weight_decay=0.0)
    for u in batches(shared, options.large_epochs, options.batch, generator):
        logits = (features[u] @ head)[:, known]
        loss = F.cross_entropy(logits, torch.searchsorted(known, verdict[u]))
        gap = heard[u] * divergence(dissent[u][:, known], logits)
        loss = loss + options.diversity * gap.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.detach() if head.isfinite().all() else start


def opinions(
    models: list[PublicPredictions], shared: SharedContext
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ensemble's classes ``(|U|,)``, the dissenters' logits, and where there are any.

    Eq. 3: each model's logits are weighted by their variance on the item, a measure of how sure
    it is. The dissenters are the models whose best class is not the ensemble's, weighted alike.
    """
    answers = [_answers(model, shared) for model in models]
    weights = torch.stack([logits.var(1, unbiased=False) for _, logits in answers])
    weights = weights.clamp(min=1e-6)  # a model of one class has no variance
    verdict = consensus(models, shared, weights).argmax(1)
    differs = torch.stack([classes[logits.argmax(1)] != verdict for classes, logits in answers])
    dissent = consensus(models, shared, weights * differs)
    return verdict, dissent, differs.any(0)


def _answers(model: PublicPredictions, shared: SharedContext) -> tuple[Tensor, Tensor]:
    classes = known_to([model], shared)
    return classes, shared.logits(model.embedding, classes)


def has_features(options: FedET, settings: Settings) -> str | None:
    """Say that the FM is missing whose embeddings the head reads."""
    if settings.large.embeds:
        return None
    return (
        "large.head: must not be 'none' where fusion.name is 'fedet', which reads the "
        "embeddings of the FM, found 'none'"
    )


FUSION = Fusion(options=FedET, fuse=through_large, needs_public_logits=True, check=has_features)
