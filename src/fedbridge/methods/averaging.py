"""Averages of models, weighted by how much each of them was trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedbridge.config import Settings
from fedbridge.config.section import Options
from fedbridge.methods.context import SharedContext
from fedbridge.methods.rounds import FusionResult, MapJobs, RoundUploads, Student
from fedbridge.wire import State


class Averaging(Options):
    """What is averaged with what."""

    groups: bool = False
    """Average within groups of equal architecture; otherwise all models must be of one."""


def of_one_kind(options: Averaging, settings: Settings) -> str | None:
    """Say that models of several architectures cannot be averaged, if they shall be."""
    used = list(dict.fromkeys(settings.small.models[: settings.scenario.clients]))
    if options.groups or len(used) == 1:
        return None
    return (
        f"small.models: must be of one architecture where fusion.name is {options.name!r}, which "
        f"averages weights (fusion.groups=true averages within each architecture), found "
        f"{', '.join(used)}"
    )


def average(
    round_: RoundUploads, shared: SharedContext, options: Averaging, map_jobs: MapJobs
) -> FusionResult:
    """Average all models of an architecture by their training items (FedAvg, AISTATS 2017).

    McMahan et al., algorithm 1: ``w = sum_k n_k / n * w_k`` over who took part; everybody of that
    architecture goes on from it.
    """
    return FusionResult(for_everyone(group_means(round_.students), round_.models), [])


def group_means(students: list[Student]) -> dict[str, State]:
    """Return the weighted mean of the students' states for each architecture among them."""
    means = {}
    for model in sorted({student.model for student in students}):
        alike = [student for student in students if student.model == model]
        means[model] = mean_state([s.state for s in alike], [s.num_examples for s in alike])
    return means


def mean_state(states: list[State], items: Sequence[float]) -> State:
    """Return the mean of states of equal shapes, weighted by items, computed in float64.

    Buffers are averaged like weights; counts among them are rounded. If nobody has any items
    all count the same.
    """
    counts = torch.tensor(items if any(items) else [1] * len(items), dtype=torch.float64)
    weights = counts / counts.sum()
    return {key: _mean([state[key] for state in states], weights) for key in states[0]}


def for_everyone(means: dict[str, State], models: dict[str, str]) -> dict[str, State]:
    """Return for every client the state of its architecture, if there is one."""
    return {client: means[model] for client, model in models.items() if model in means}


def _mean(tensors: list[Tensor], weights: Tensor) -> Tensor:
    stacked = torch.stack(tensors).double().cpu()
    mean: Tensor = torch.tensordot(weights, stacked, dims=1)
    if not mean.isfinite().all():  # what stands for nothing is infinite everywhere
        mean = torch.where((stacked == stacked[0]).all(0), stacked[0], mean)
    kind = tensors[0].dtype
    return (mean if kind.is_floating_point else mean.round()).to(kind)
