"""FedWeIT (Yoon et al., ICML 2021): a common base, and what tasks add to it.

The matrices of the model of task t are ``B * m_t + A_t + sum_k a_k A_k``: the base B, masked by
output units; the task's own additions, kept sparse; and those that others sent at the end of
their newest task, by weights of attention. Cross entropy is minimised together with

    lambda_1 * sum_i |A_i| + lambda_2 / 2 * sum_{i < t} |B * m_i + A_i - (B * m_i + A_i)_before|^2

over B, m_t, a and all A_i, so that earlier tasks' models stay what they were as t began. Each task
is answered by its own model (``recall``); a class that came in several, by that of the newest.

Adapted: anchors stand for the tasks' own output layers. A task begins with the base itself
(``m = 1/2``, ``A = B / 2``; the public code has ``A = B / 3``). Biases, normalisation and buffers
belong to a task. Left out: no channels of the base are dropped before it is sent, arrays travel
dense and in every round, and masks are not kept sparse (as in the public code). With another
fusion than its own the base takes whatever that changed in the model.

On the server clients' whole bases arrive, not a part that a mask has chosen, so that the federated
parameters are the plain mean of all bases, within each architecture. As in the public code, of
every client the additions of its newest finished task are sent to all.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fedbridge.config import Settings
from fedbridge.config.section import Options, Weight
from fedbridge.core.states import misfit
from fedbridge.methods.averaging import Averaging, for_everyone, mean_state, of_one_kind
from fedbridge.methods.context import SharedContext, TrainContext
from fedbridge.methods.exchange import Exchange
from fedbridge.methods.rounds import FusionResult, MapJobs, RoundUploads
from fedbridge.methods.spec import Fusion, Learner
from fedbridge.models.optimiser import Uncompiled
from fedbridge.models.small.space import SmallModel, as_input
from fedbridge.wire import State

ADAPTIVE = "adaptive/"
"""What the names of a task's additions begin with on the wire, beside those of the base."""
LEAST = 0.01  # of a mask, where a model is divided by it


class FedWeITLearner(Options):
    """The clients' part of FedWeIT: a base that all share, and what each task adds to it."""

    name: Literal["fedweit"] = "fedweit"
    sparse: Weight = 0.0001
    """Weight ``lambda_1`` of the sum of magnitudes of what tasks add to the base."""
    retain: Weight = 100.0
    """Weight ``lambda_2`` of half the squared change in the models of earlier tasks."""
    classes: Literal["seen", "task"] = "task"
    """Classes the softmax runs over: all that the client has seen, or the task's only."""


class FedWeIT(Averaging):
    """The base is averaged, and what a task added to it is sent to the other clients."""

    name: Literal["fedweit"] = "fedweit"


def fedweit(context: TrainContext, options: FedWeITLearner) -> None:
    """Train the context's model in place, through the parts that it is made of."""
    _begin(context)
    optimiser = Decomposed(context, options)
    classes = context.classes(options.classes)
    for batch in context.batches():
        embedding = context.model(as_input(batch.inputs))
        context.optimizer_step(
            optimiser, context.classification_loss(embedding, batch.labels, classes)
        )
    optimiser.close()


class Decomposed(Uncompiled):
    """AdamW over the parts of a model: slopes of the model's matrices are passed on to them."""

    def __init__(self, context: TrainContext, options: FedWeITLearner) -> None:
        self.context, self.options = context, options
        self.names = matrices(context.model)
        self.weights = dict(context.model.named_parameters())
        self.additions = _of_others(context, self.names)
        self.parts: State = {
            key: value.clone().requires_grad_() if self._learns(key) else value
            for key, value in context.notes.items()
        }
        learnt = [part for part in self.parts.values() if part.requires_grad]
        learnt += [w for name, w in self.weights.items() if name not in self.names]
        settings = context.training
        super().__init__(learnt, lr=settings.lr, weight_decay=settings.weight_decay)
        self._write()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the slopes of the parts and of the model."""
        super().zero_grad(set_to_none)
        self.context.model.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Pass the model's slopes and those of the penalty on, and take a step."""
        used = [name for name in self.names if self.weights[name].grad is not None]
        wholes = [self._whole(name) for name in used]
        slopes = [self.weights[name].grad for name in used]
        torch.autograd.backward([*wholes, self.penalty()], [*slopes, None])
        super().step(closure)
        self._write()

    def penalty(self) -> Tensor:
        """Return what is added to the loss: additions shall be few, and earlier tasks stay."""
        total = self.weights[self.names[0]].new_zeros(())
        for task in range(1, self.context.number + 1):
            for name in self.names if f"{task}/mask/{self.names[0]}" in self.parts else ():
                added = self.parts[f"{task}/adaptive/{name}"]
                total = total + self.options.sparse * added.abs().sum()
                if task < self.context.number:
                    gap = body(self.parts, task, name) - self.parts[f"{task}/aim/{name}"]
                    total = total + self.options.retain / 2 * gap.square().sum()
        return total

    @torch.no_grad()
    def close(self) -> None:
        """Leave the parts in the notes, with all that the task's model has besides."""
        notes, number = self.context.notes, self.context.number
        notes.update({key: part.detach() for key, part in self.parts.items()})
        for name, value in self.context.model.state_dict().items():
            if name not in self.names:
                notes[f"{number}/rest/{name}"] = value.clone()
            else:
                notes[f"{number}/borrowed/{name}"] = self._borrowed(name)

    def _learns(self, key: str) -> bool:
        part = key.partition("/")[2].partition("/")[0]
        own = key.startswith(f"{self.context.number}/") and part in ("mask", "attention")
        return own or key.startswith("base/") or part == "adaptive"

    def _borrowed(self, name: str) -> Tensor:
        attention = self.parts[f"{self.context.number}/attention/{name}"]
        found: Tensor = torch.tensordot(attention, self.additions[name], dims=1)
        return found

    def _whole(self, name: str) -> Tensor:
        return body(self.parts, self.context.number, name) + self._borrowed(name)

    @torch.no_grad()
    def _write(self) -> None:
        for name in self.names:
            self.weights[name].copy_(self._whole(name))


def body(notes: State, task: int, name: str) -> Tensor:
    """Return ``B * m + A`` of a task, one of its matrices."""
    mask = notes[f"{task}/mask/{name}"].sigmoid()
    return notes[f"base/{name}"] * mask + notes[f"{task}/adaptive/{name}"]


def task_model(notes: State, task: int) -> State:
    """Return the model of one of the own tasks, empty if there is none."""
    rest = {k.split("/", 2)[2]: v for k, v in notes.items() if k.startswith(f"{task}/rest/")}
    names = [k.split("/", 2)[2] for k in notes if k.startswith(f"{task}/borrowed/")]
    return rest | {n: body(notes, task, n) + notes[f"{task}/borrowed/{n}"] for n in names}


def to_upload(state: State, notes: State) -> State:
    """Return what is uploaded of a model: its base, and beside it what the newest task added."""
    task = _newest(notes)
    sent = dict(state)
    for name in _names(notes):
        sent[name] = notes[f"base/{name}"]
        sent[ADAPTIVE + name] = notes[f"{task}/adaptive/{name}"]
    return sent


def from_download(model: SmallModel, sent: State, notes: State) -> None:
    """Keep the base that the server sent for the next round; a first one is the model itself."""
    if not notes:
        model.load_state_dict(sent)
    for name in _names(notes):
        notes[f"sent/{name}"] = sent[name]


def _begin(context: TrainContext) -> None:
    """Take up the base that was sent, and open the task if it is new."""
    notes, number = context.notes, context.number
    earlier, names = _newest(notes), matrices(context.model)
    own = context.exchange is BASE
    if number > earlier:  # what the models of earlier tasks are to stay
        for key in [key for key in notes if "/mask/" in key]:
            task, _, name = key.split("/", 2)
            notes[f"{task}/aim/{name}"] = body(notes, int(task), name)
    for name in names:
        sent = notes.pop(f"sent/{name}", None)
        if not earlier:
            notes[f"base/{name}"] = context.start[name].clone()
        elif own and sent is not None:
            notes[f"base/{name}"] = sent
        elif not own:
            notes[f"base/{name}"] = _base_of(context.start[name], notes, earlier, name)
    if number > earlier:
        _open(context, names)


def _open(context: TrainContext, names: list[str]) -> None:
    notes, number, others = context.notes, context.number, _of_others(context, names)
    for name in names:
        base = notes[f"base/{name}"]
        units = (len(base), *[1] * (base.ndim - 1))
        notes[f"{number}/mask/{name}"] = base.new_zeros(units)
        notes[f"{number}/adaptive/{name}"] = base / 2
        notes[f"{number}/attention/{name}"] = base.new_zeros(len(others[name]))


def _base_of(whole: Tensor, notes: State, task: int, name: str) -> Tensor:
    """Return the base with which a task's parts make this matrix."""
    mask = notes[f"{task}/mask/{name}"].sigmoid().clamp(min=LEAST)
    added = notes[f"{task}/adaptive/{name}"] + notes[f"{task}/borrowed/{name}"]
    return (whole - added) / mask


def _of_others(context: TrainContext, names: list[str]) -> State:
    """Return what the newest tasks of others of this architecture added, ``(K, ...)`` by matrix."""
    found: dict[str, State] = {}
    for key, value in sorted(context.received.items()):
        name, _, client = key.partition("/")
        if client != context.client:
            found.setdefault(client, {})[name] = value
    like = {name: context.start[name] for name in names}
    alike = [added for added in found.values() if misfit(added, like) is None]
    nothing = {name: value.new_zeros(0, *value.shape) for name, value in like.items()}
    return {
        name: torch.cat([none, *[added[name][None] for added in alike]])
        for name, none in nothing.items()
    }


def _names(notes: State) -> list[str]:
    return [key.removeprefix("base/") for key in notes if key.startswith("base/")]


def _newest(notes: State) -> int:
    """Return the number of the newest task of which there are parts, 0 if there is none."""
    tasks = [int(key.partition("/")[0]) for key in notes if key[0].isdigit()]
    return max(tasks, default=0)


def matrices(model: nn.Module) -> list[str]:
    """Return the names of the parameters that have a base: all of two dimensions or more."""
    return [name for name, weight in model.named_parameters() if weight.ndim > 1]


def as_uploaded(model: nn.Module) -> State:
    """Return arrays of the names, shapes and types of a base and of what a task adds to it."""
    state: State = model.state_dict()
    return state | {ADAPTIVE + name: state[name].clone() for name in matrices(model)}


def average_base(
    round_: RoundUploads, shared: SharedContext, options: FedWeIT, map_jobs: MapJobs
) -> FusionResult:
    """Average the bases, ``theta_G = sum_c B_c / C``; at the end of a task share its additions.

    ``shared["NAME/CLIENT"]`` is what a client's newest finished task added to matrix NAME.
    Models of a learner without a base are averaged whole.
    """
    if round_.step.round == shared.config.training.rounds:
        for student in round_.students:
            for name, value in student.state.items():
                if name.startswith(ADAPTIVE):
                    key = f"{name.removeprefix(ADAPTIVE)}/{student.name}"
                    round_.notes[key] = value
    means = {}
    for model in sorted({student.model for student in round_.students}):
        bases = [_base(s.state) for s in round_.students if s.model == model]
        means[model] = mean_state(bases, [1] * len(bases))
    return FusionResult(for_everyone(means, round_.models), [], dict(round_.notes))


def _base(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith(ADAPTIVE)}


def nothing_absorbed(options: FedWeIT, settings: Settings) -> str | None:
    """Say that no whole models arrive from which the large side could learn, if it shall."""
    if settings.learner.name == options.name and settings.large.absorbs:
        return (
            "large.student_weight: must be 0 where learner.name and fusion.name are "
            f"'fedweit', which uploads no whole model, found {settings.large.absorbs:g}"
        )
    return of_one_kind(options, settings)


BASE = Exchange(to_upload=to_upload, from_download=from_download, uploaded=as_uploaded)
LEARNER = Learner(options=FedWeITLearner, learn=fedweit, task_model=task_model, exchange=BASE)
FUSION = Fusion(
    options=FedWeIT, fuse=average_base, shared_init=True, exchange=BASE, check=nothing_absorbed
)
