"""Which uploads the server takes in: one that is not as expected is refused, with a reason.

Only the form is looked at. A model that is well formed and was taught wrong things passes, see
``docs/security.md``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from reprlib import repr as shortened
from typing import NamedTuple

import torch

from fedbridge.core.legible import legible
from fedbridge.core.states import misfit, placeholder
from fedbridge.methods.context import SharedContext
from fedbridge.methods.counting import MOST, MOST_ITEMS
from fedbridge.methods.registry import declared, exchange_of, fusion_of, head_of
from fedbridge.methods.sums import SUMS
from fedbridge.wire import State, Step, Upload

MOST_COUNTED = 2**31
"""Largest whole number in a state: steps are counted there, and places in tables."""
BEFORE = Step(0, 0)


class Refused(NamedTuple):
    """An upload that was not taken in."""

    client: str
    """Who it says it is from."""
    reason: str

    @classmethod
    def of(cls, client: str, reason: str) -> "Refused":
        """Return a refusal in words that may be repeated anywhere, whoever chose them."""
        return cls(legible(client), legible(reason))


@dataclass(frozen=True)
class Expected:
    """What an upload must be like; of arrays only names, shapes and types matter."""

    states: dict[str, State]
    """The small model's arrays of every client."""
    classes: int
    arrays: State
    """``gram``, ``cross`` and ``counts``, each empty where nobody asks for it."""
    adapter: State
    """What clients train of the large side."""
    complete: bool
    """Whether sums are over all items of a task, see ``large.min_class_items``."""
    extra: State = field(default_factory=dict)
    """What clients upload for the fusion besides."""
    faults: Callable[[Upload], Iterator[str]] = lambda upload: iter(())
    """Yields what is wrong with its values by the fusion's own rules."""
    of_head: Callable[[Upload, bool], Iterator[str]] = lambda upload, whole: iter(())
    """Yields the same by the head's; True: sums must be of all items that are counted."""
    step: Step = BEFORE
    open: frozenset[str] = frozenset()
    """Clients that were asked in this step and whose upload was not taken in yet."""
    done: frozenset[str] = frozenset()
    """Clients whose upload of this step was taken in."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Number of own tasks of each client of which the server held the sums in its broadcast."""

    def of_step(self, step: Step, asked: Iterable[str], held: Mapping[str, int]) -> "Expected":
        """Return what is expected after these clients were sent a broadcast."""
        asked = frozenset(asked)
        return replace(self, step=step, open=asked, done=frozenset(), held=dict(held))

    def without(self, client: str) -> "Expected":
        """Return what is still expected after the upload of a client."""
        return replace(self, open=self.open - {client}, done=self.done | {client})


def expectation(shared: SharedContext, models: dict[str, str], trained: State) -> Expected:
    """Return what the settings ask of uploads; ``trained`` is the adapter as clients send it.

    Nobody is expected to send anything before the first step.
    """
    config, classes, features = shared.config, len(shared.classes), shared.lift.dimension
    kinds = {kind: _shapes(shared, kind) for kind in sorted(set(models.values()))}
    head, large = head_of(config), config.large
    sizes = {"gram": (features * (features + 1) // 2,), "cross": (features, classes)}
    sizes["counts"] = (classes,)
    extras = head.sums if large.scope == "federation" else ()
    own = fusion_of(config).extra
    return Expected(
        {client: kinds[model] for client, model in models.items()},
        classes,
        {n: torch.empty(sizes[n] if n in extras else 0, device="meta") for n in SUMS},
        {name: tensor.to("meta") for name, tensor in trained.items()},
        extra=declared(shared),
        faults=lambda upload: own.check(upload, shared, config.fusion) if own else iter(()),
        of_head=lambda upload, whole: head.upload_faults(upload, whole, large),
        complete=large.min_class_items == 1,
    )


def _shapes(shared: SharedContext, model: str) -> State:
    state = exchange_of(shared.config).uploaded(shared.small_model(model, model))
    return {k: v.clone() if placeholder(v) else v.to("meta") for k, v in state.items()}


def refusal(upload: Upload, expected: Expected) -> str | None:
    """Say why an upload must not be taken in, None if nothing speaks against it."""
    for check in CHECKS:
        for fault in check(upload, expected):
            return f"{shortened(upload.client)}: {fault}"
    return None


def _sender(upload: Upload, expected: Expected) -> Iterator[str]:
    if upload.client not in expected.states:
        yield "client: must be one of the federation's, found another"
    if (upload.task, upload.round) != expected.step:
        found = shortened((upload.task, upload.round))
        yield f"task, round: must be {tuple(expected.step)}, found {found}"
    if upload.client in expected.done:
        yield "client: must send one upload in a step, found a second one"
    if upload.client not in expected.open:
        yield "client: must be one of those asked in this step, found one that was not"


def _scalars(upload: Upload, expected: Expected) -> Iterator[str]:
    if not 0 <= upload.num_examples <= MOST_ITEMS:
        found = shortened(upload.num_examples)
        yield f"num_examples: must be from 0 to {MOST_ITEMS}, found {found}"
    if not 0 <= upload.client_task <= MOST_ITEMS:
        yield f"client_task: must be from 0 to {MOST_ITEMS}, found {shortened(upload.client_task)}"
    seen, last = upload.seen, expected.classes - 1
    if any(one >= other for one, other in pairwise(seen)):
        yield f"seen: must be ascending, each class once, found {shortened(seen)}"
    if unknown := [c for c in seen if not 0 <= c <= last]:
        yield f"seen: must be classes from 0 to {last}, found {shortened(unknown[0])}"
    if upload.state and not seen:
        yield "seen: must hold a class, found none"


def _state(upload: Upload, expected: Expected) -> Iterator[str]:
    if not upload.state:  # nothing new was learnt
        return
    if fault := misfit(upload.state, expected.states[upload.client]):
        yield f"state: {fault}"
    wanted = expected.states[upload.client]
    yield from _magnitudes("state", {k: v for k, v in upload.state.items() if wanted[k].is_meta})
    for name, tensor in upload.state.items():
        never_negative = name.endswith(("running_var", "num_batches_tracked"))
        if never_negative and (tensor < 0).any():
            yield f"state: {name!r} must be at least 0, found {tensor.min().item()}"


def _adapter(upload: Upload, expected: Expected) -> Iterator[str]:
    if not upload.adapter and (not upload.state or upload.diverged):
        return
    if fault := misfit(upload.adapter, expected.adapter):
        yield f"adapter: {fault}"
    yield from _magnitudes("adapter", upload.adapter)


def _magnitudes(name: str, state: State, largest: float = MOST) -> Iterator[str]:
    for key, tensor in state.items():
        most = largest if tensor.is_floating_point() else MOST_COUNTED
        values = tensor if tensor.is_floating_point() else tensor.long()
        if not tensor.numel():
            continue
        if (found := max(values.max().item(), -values.min().item())) > most:
            yield f"{name}: {key!r} must be within {most:g}, found {found:g}"


def _arrays(upload: Upload, expected: Expected) -> Iterator[str]:
    """The arrays of sums come all or none, once in a task."""
    found = {name: getattr(upload, name) for name in expected.arrays}
    nothing = torch.zeros(0)
    wanted = dict(expected.arrays)
    if not any(found[name].numel() for name in SUMS):
        wanted |= dict.fromkeys(SUMS, nothing)
    if fault := misfit(found, wanted):
        yield fault


def _head(upload: Upload, expected: Expected) -> Iterator[str]:
    one_task = upload.client_task - expected.held.get(upload.client, 0) <= 1
    yield from expected.of_head(upload, expected.complete and one_task)


def _extra(upload: Upload, expected: Expected) -> Iterator[str]:
    """Check what a fusion asks for besides: its names and shapes, sizes, and by its own rules."""
    if not upload.extra and (not upload.state or not expected.extra):
        return
    if fault := misfit(upload.extra, expected.extra):
        yield f"extra: {fault}"
    yield from _magnitudes("extra", upload.extra, MOST * max(1, upload.num_examples))
    for fault in expected.faults(upload):
        yield f"extra: {fault}"


CHECKS: tuple[Callable[[Upload, Expected], Iterator[str]], ...] = (
    _sender,
    _scalars,
    _state,
    _adapter,
    _arrays,
    _head,
    _extra,
)
"""In this order: each may rely on what those before it have checked."""
