"""The clients' part of FedWeIT (Yoon et al., ICML 2021): a common base, and what tasks add to it.

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
"""

from typing import Any

import torch
from torch import Tensor

from fedbridge.client.lesson import Lesson
from fedbridge.config import FedWeITLearner
from fedbridge.models.decomposed import ADAPTIVE, matrices
from fedbridge.models.optimiser import Uncompiled
from fedbridge.models.space import SmallModel, as_input
from fedbridge.models.states import misfit
from fedbridge.wire import State

LEAST = 0.01  # of a mask, where a model is divided by it


def fedweit(lesson: Lesson, options: FedWeITLearner) -> None:
    """Train the lesson's model in place, through the parts that it is made of."""
    _begin(lesson)
    optimiser = Decomposed(lesson, options)
    classes = lesson.classes(options.classes)
    for batch in lesson.batches():
        embedding = lesson.model(as_input(batch.inputs))
        lesson.descend(optimiser, lesson.supervised(embedding, batch.labels, classes))
    optimiser.close()


class Decomposed(Uncompiled):
    """AdamW over the parts of a model: slopes of the model's matrices are passed on to them."""

    def __init__(self, lesson: Lesson, options: FedWeITLearner) -> None:
        self.lesson, self.options = lesson, options
        self.names = matrices(lesson.model)
        self.weights = dict(lesson.model.named_parameters())
        self.additions = _of_others(lesson, self.names)
        self.parts: State = {
            key: value.clone().requires_grad_() if self._learns(key) else value
            for key, value in lesson.notes.items()
        }
        learnt = [part for part in self.parts.values() if part.requires_grad]
        learnt += [w for name, w in self.weights.items() if name not in self.names]
        settings = lesson.training
        super().__init__(learnt, lr=settings.rate, weight_decay=settings.weight_decay)
        self._write()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the slopes of the parts and of the model."""
        super().zero_grad(set_to_none)
        self.lesson.model.zero_grad(set_to_none)

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
        for task in range(1, self.lesson.number + 1):
            for name in self.names if f"{task}/mask/{self.names[0]}" in self.parts else ():
                added = self.parts[f"{task}/adaptive/{name}"]
                total = total + self.options.sparse * added.abs().sum()
                if task < self.lesson.number:
                    gap = body(self.parts, task, name) - self.parts[f"{task}/aim/{name}"]
                    total = total + self.options.retain / 2 * gap.square().sum()
        return total

    @torch.no_grad()
    def close(self) -> None:
        """Leave the parts in the notes, with all that the task's model has besides."""
        notes, number = self.lesson.notes, self.lesson.number
        notes.update({key: part.detach() for key, part in self.parts.items()})
        for name, value in self.lesson.model.state_dict().items():
            if name not in self.names:
                notes[f"{number}/rest/{name}"] = value.clone()
            else:
                notes[f"{number}/borrowed/{name}"] = self._borrowed(name)

    def _learns(self, key: str) -> bool:
        part = key.partition("/")[2].partition("/")[0]
        own = key.startswith(f"{self.lesson.number}/") and part in ("mask", "attention")
        return own or key.startswith("base/") or part == "adaptive"

    def _borrowed(self, name: str) -> Tensor:
        attention = self.parts[f"{self.lesson.number}/attention/{name}"]
        found: Tensor = torch.tensordot(attention, self.additions[name], dims=1)
        return found

    def _whole(self, name: str) -> Tensor:
        return body(self.parts, self.lesson.number, name) + self._borrowed(name)

    @torch.no_grad()
    def _write(self) -> None:
        for name in self.names:
            self.weights[name].copy_(self._whole(name))


def body(notes: State, task: int, name: str) -> Tensor:
    """Return ``B * m + A`` of a task, one of its matrices."""
    mask = notes[f"{task}/mask/{name}"].sigmoid()
    return notes[f"base/{name}"] * mask + notes[f"{task}/adaptive/{name}"]


def recall(notes: State, task: int) -> State:
    """Return the model of one of the own tasks, empty if there is none."""
    rest = {k.split("/", 2)[2]: v for k, v in notes.items() if k.startswith(f"{task}/rest/")}
    names = [k.split("/", 2)[2] for k in notes if k.startswith(f"{task}/borrowed/")]
    return rest | {n: body(notes, task, n) + notes[f"{task}/borrowed/{n}"] for n in names}


def sends(state: State, notes: State) -> State:
    """Return what is uploaded of a model: its base, and beside it what the newest task added."""
    task = _newest(notes)
    sent = dict(state)
    for name in _names(notes):
        sent[name] = notes[f"base/{name}"]
        sent[ADAPTIVE + name] = notes[f"{task}/adaptive/{name}"]
    return sent


def takes(model: SmallModel, sent: State, notes: State) -> None:
    """Keep the base that the server sent for the next round; a first one is the model itself."""
    if not notes:
        model.load_state_dict(sent)
    for name in _names(notes):
        notes[f"sent/{name}"] = sent[name]


def _begin(lesson: Lesson) -> None:
    """Take up the base that was sent, and open the task if it is new."""
    notes, number = lesson.notes, lesson.number
    earlier, names = _newest(notes), matrices(lesson.model)
    own = lesson.commons.config.decomposes
    if number > earlier:  # what the models of earlier tasks are to stay
        for key in [key for key in notes if "/mask/" in key]:
            task, _, name = key.split("/", 2)
            notes[f"{task}/aim/{name}"] = body(notes, int(task), name)
    for name in names:
        sent = notes.pop(f"sent/{name}", None)
        if not earlier:
            notes[f"base/{name}"] = lesson.start[name].clone()
        elif own and sent is not None:
            notes[f"base/{name}"] = sent
        elif not own:
            notes[f"base/{name}"] = _base_of(lesson.start[name], notes, earlier, name)
    if number > earlier:
        _open(lesson, names)


def _open(lesson: Lesson, names: list[str]) -> None:
    notes, number, others = lesson.notes, lesson.number, _of_others(lesson, names)
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


def _of_others(lesson: Lesson, names: list[str]) -> State:
    """Return what the newest tasks of others of this architecture added, ``(K, ...)`` by matrix."""
    found: dict[str, State] = {}
    for key, value in sorted(lesson.shared.items()):
        name, _, client = key.partition("/")
        if client != lesson.client:
            found.setdefault(client, {})[name] = value
    like = {name: lesson.start[name] for name in names}
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
