"""The server's part of FedTA (Yu et al., CVPR 2025): prototypes selected, prompts fused on U.

*Best global prototype selection* (equations 9 and 10). All prototypes there are in a round, what
clients sent and what was selected before, are compared by their cosines; two of one class count as
equal, 1. Of a class's own, the one with the lowest mean is selected, and for good once that mean is
below ``large.threshold``. As in the authors' public code, one that was selected is a candidate in
later rounds; left out is that the code also settles all of them in the last round but one.

*Selective input knowledge fusion* (equation 8), with ``large.tuning = "pool"``. One client's
prompts, drawn by lot, learn to give the features on U that those of the others give:

    1/(K - 1) sum_j |V_i(u) - V_j(u)|^2,   u from U

whose slope is that of the squared distance to the others' mean. Passes are ``large.probe_epochs``.
"""

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import Noted, PublicPredictions
from fedbridge.models.foundation import picked
from fedbridge.models.optimiser import Uncompiled
from fedbridge.models.states import infinity
from fedbridge.models.tuning import tunable
from fedbridge.rng import seed_for
from fedbridge.server.averaged import Averaged
from fedbridge.wire import State, Step, Upload


class Selected(Averaged):
    """Prototypes ``(2M, C)`` of the classes and, where the FM has a pool of prompts, these."""

    def __init__(self, commons: SharedContext, clients: tuple[str, ...]) -> None:
        super().__init__(commons, clients)
        size = 2 * commons.lift.dimension, len(commons.classes)
        self.parts = {
            key: {"prototypes": torch.zeros(size), "settled": torch.zeros(size[1])}
            for key in self.parts
        }
        self._sent: dict[str, list[tuple[Step, State]]] = {}

    @cached_property
    def trained(self) -> State:
        """Return the prototypes and the prompts, as they were at first."""
        parts = {k: v for k, v in super().trained.items() if k != "head"}
        size = 2 * self.commons.lift.dimension, len(self.commons.classes)
        return parts | {"prototypes": torch.zeros(size)}

    def adapter(self, client: str) -> State:
        """Return the prototypes and the prompts."""
        part = self.parts[self._key(client)]
        return {name: value for name, value in part.items() if name != "settled"}

    def absorb(self, upload: Upload) -> None:
        """Keep what a client sent until the round ends."""
        if upload.adapter and upload.items:
            sent = Step(upload.task, upload.round), upload.adapter
            self._sent.setdefault(self._key(upload.client), []).append(sent)

    def finish_round(self, models: list[PublicPredictions]) -> list[Noted]:
        """Select the prototypes, and fuse the prompts."""
        for key, sent in self._sent.items():
            part, (step, _) = self.parts[key], sent[0]
            local = torch.stack([adapter["prototypes"] for _, adapter in sent])
            part["prototypes"], part["settled"] = selected(
                part["prototypes"], part["settled"], local, self.settings.threshold
            )
            prompts = [{k: v for k, v in a.items() if k != "prototypes"} for _, a in sent]
            if prompts[0]:
                part |= fused(self.commons, prompts, step)
        self._sent = {}
        return []


def selected(
    before: Tensor, settled: Tensor, local: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Return prototypes ``(N, C)`` and which are for good, from those of K clients, ``(K, N, C)``.

    All zero stands for none.
    """
    candidates: list[tuple[int, Tensor]] = []
    for c in range(before.shape[1]):
        rows = [before[:, c]] if settled[c] else [*local[:, :, c], before[:, c]]
        candidates += [(c, row) for row in rows if row.any()]
    if not candidates:
        return before, settled
    classes = torch.tensor([c for c, _ in candidates])
    units = F.normalize(torch.stack([row for _, row in candidates]).double(), dim=1)
    alike = (units @ units.T).masked_fill(classes[:, None] == classes[None, :], 1.0).mean(1)
    after, done = before.clone(), settled.clone()
    for c in classes.unique().tolist():
        own = (classes == c).nonzero()[:, 0]
        best = own[alike[own].argmin()]
        after[:, c] = candidates[int(best)][1]
        done[c] = max(float(settled[c]), float(alike[best] < threshold))
    return after, done


def fused(commons: SharedContext, prompts: list[State], step: Step) -> State:
    """Return prompts and keys that give the features on U that those of all clients give."""
    config, large, items = commons.config, commons.config.large, commons.public_items
    if len(prompts) == 1:
        return prompts[0]
    assert items is not None
    generator = torch.Generator().manual_seed(seed_for(config.seed, "fuse prompts", *step))
    chosen = int(torch.randint(len(prompts), (), generator=generator))
    fm = tunable(large, commons.device, config.seed)
    total: Tensor | float = 0.0
    for state in prompts[:chosen] + prompts[chosen + 1 :]:
        fm.load(state)
        total = total + fm.encode(items, large.batch)
    assert isinstance(total, Tensor)
    aim = total / (len(prompts) - 1)
    fm.load(prompts[chosen])
    optimiser = Uncompiled(list(fm.part.values()), lr=large.tuning_rate, weight_decay=0.0)
    for _ in range(large.probe_epochs):
        for rows in torch.randperm(len(aim), generator=generator).split(config.training.batch):
            loss = F.mse_loss(fm(picked(items, rows.numpy())), aim[rows.to(aim.device)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    state = fm.state()
    return prompts[chosen] if infinity(state) else state
