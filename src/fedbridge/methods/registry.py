"""Every method by the name that a config gives it, one line each, and how a name is looked up."""

from collections.abc import Mapping

import torch

from fedbridge.config import Settings
from fedbridge.core.entries import entry_at
from fedbridge.methods import (
    alone,
    analytic,
    derpp,
    ewc,
    fedavg,
    feddf,
    fedet,
    fedmd,
    fedproto,
    fedprox,
    fedta,
    fedweit,
    finetune,
    glfc,
    lwf,
    nearest_mean,
    no_head,
    obod,
    pilora,
    probe,
    replay,
    smcf,
    target,
)
from fedbridge.methods.context import SharedContext
from fedbridge.methods.exchange import WHOLE, Exchange
from fedbridge.methods.spec import Fusion, Head, Learner, Method
from fedbridge.wire import State

LEARNERS: dict[str, Learner] = {
    "finetune": finetune.LEARNER,
    "ewc": ewc.LEARNER,
    "lwf": lwf.LEARNER,
    "replay": replay.LEARNER,
    "derpp": derpp.LEARNER,
    "glfc": glfc.LEARNER,
    "smcf": smcf.LEARNER,
    "target": target.LEARNER,
    "fedweit": fedweit.LEARNER,
}
FUSIONS: dict[str, Fusion] = {
    "none": alone.FUSION,
    "obod": obod.FUSION,
    "fedavg": fedavg.FUSION,
    "fedprox": fedprox.FUSION,
    "fedproto": fedproto.FUSION,
    "fedmd": fedmd.FUSION,
    "feddf": feddf.FUSION,
    "fedet": fedet.FUSION,
    "target": target.FUSION,
    "fedweit": fedweit.FUSION,
}
HEADS: dict[str, Head] = {
    "analytic": analytic.HEAD,
    "nearest-mean": nearest_mean.HEAD,
    "probe": probe.HEAD,
    "prototypes": pilora.HEAD,
    "tail-anchors": fedta.HEAD,
    "none": no_head.HEAD,
}
METHODS: dict[str, Mapping[str, Method]] = {
    "learner": LEARNERS,
    "fusion": FUSIONS,
    "large": HEADS,
}
"""The methods of each part of a config."""
KINDS: dict[str, type[Method]] = {"learner": Learner, "fusion": Fusion, "large": Head}
KEYS = {"learner": "name", "fusion": "name", "large": "head"}
"""The key that names the method in each of these parts."""


def method_of(part: str, name: str) -> Method:
    """Return the method that a part of a config names: one of ours, or ``MODULE:NAME``.

    Raises UserError if there is none of this name, or it is something else.
    """
    if known := METHODS[part].get(name):
        return known
    found: Method = entry_at(name, name, f"{part}.{KEYS[part]}", KINDS[part])
    return found


def learner_of(config: Settings) -> Learner:
    """Return the learner that settings name."""
    found = method_of("learner", config.learner.name)
    assert isinstance(found, Learner)
    return found


def fusion_of(config: Settings) -> Fusion:
    """Return the fusion that settings name."""
    found = method_of("fusion", config.fusion.name)
    assert isinstance(found, Fusion)
    return found


def head_of(config: Settings) -> Head:
    """Return the head of the large side that settings name."""
    found = method_of("large", config.large.head)
    assert isinstance(found, Head)
    return found


def sharpness_of(config: Settings) -> float:
    """Return the factor that makes logits of the large side's scores, as the learner wants them."""
    return learner_of(config).sharpness(config.learner)


def exchange_of(config: Settings) -> Exchange:
    """Return how small models travel: in a way of its own where both methods name the same."""
    own = learner_of(config).exchange
    return own if fusion_of(config).exchange is own else WHOLE


def declared(shared: SharedContext) -> State:
    """Return empty arrays of the names and shapes that clients upload besides their models."""
    extra = fusion_of(shared.config).extra
    shapes = extra.shapes(shared, shared.config.fusion) if extra else {}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
