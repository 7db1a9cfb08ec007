"""Our metrics against those of Avalanche, an independent library, on random accuracies.

Only three modules of it are loaded, by hand: importing the package itself would import
torchvision, which they have no use for. Avalanche calls forgetting what is the negative of
backward transfer (first value less last); its maximum over time is therefore taken here.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedbridge.core.metrics import backward_transfer, final_accuracy, forgetting, forward_transfer

# installed by scripts/environment.sh without what it depends on
SPEC = importlib.util.find_spec("avalanche")
if SPEC is None:
    raise ModuleNotFoundError("avalanche-lib is not installed: make environment installs it")


def bare(name, *parts):
    """Register a package of Avalanche without running what it imports; give it some modules."""
    package = ModuleType(name)
    folders = list(SPEC.submodule_search_locations)
    package.__path__ = [f"{folder}/{'/'.join(name.split('.')[1:])}" for folder in folders]
    sys.modules[name] = package
    for part in parts:
        package.__dict__.update(vars(importlib.import_module(f"{name}.{part}")))


@pytest.fixture(scope="module")
def avalanche():
    before = set(sys.modules)
    bare("avalanche")
    bare("avalanche.evaluation", "metric_definitions")
    bare("avalanche.evaluation.metrics", "mean", "accuracy", "forgetting_bwt", "forward_transfer")
    yield sys.modules["avalanche.evaluation.metrics"]
    assert "torchvision" not in sys.modules
    for name in {name for name in sys.modules if name.partition(".")[0] == "avalanche"} - before:
        del sys.modules[name]


@st.composite
def federations(draw):
    """Draw a matrix ``(T + 1, T)`` for each client, which may have unequal numbers of tasks."""
    sizes = draw(st.lists(st.integers(2, 6), min_size=1, max_size=4))
    fractions = st.integers(0, 50).map(lambda right: right / 50)
    return [draw(arrays(float, (size + 1, size), elements=fractions)) for size in sizes]


def mean(clients):
    """Return the mean over clients of the mean over their tasks."""
    return np.mean([np.mean(list(values)) for values in clients])


def told(metric, first, last):
    """Tell a metric of Avalanche each task's first and last accuracy, and return its result."""
    for task, value in first.items():
        metric.update(task, value, initial=True)
    for task, value in last.items():
        metric.update(task, value)
    return metric.result()


@given(accuracy=federations())
def test_final_accuracy(avalanche, accuracy):
    found = []
    for matrix in accuracy:
        average = avalanche.Mean()
        for value in matrix[-1]:
            average.update(value)
        found.append([average.result()])
    assert final_accuracy(accuracy) == pytest.approx(mean(found), abs=1e-12)


@given(accuracy=federations())
def test_backward_transfer(avalanche, accuracy):
    found = []
    for matrix in accuracy:
        first = {task: matrix[task + 1, task] for task in range(len(matrix) - 2)}
        last = {task: matrix[-1, task] for task in first}
        found.append(told(avalanche.BWT(), first, last).values())
    assert backward_transfer(accuracy) == pytest.approx(mean(found), abs=1e-12)


@given(accuracy=federations())
def test_forgetting(avalanche, accuracy):
    found = []
    for matrix in accuracy:
        last = {task: matrix[-1, task] for task in range(len(matrix) - 2)}
        since = [
            told(avalanche.Forgetting(), {k: v for k, v in enumerate(row[:i]) if k in last}, last)
            for i, row in enumerate(matrix[:-1])
        ]
        found.append([max(loss[task] for loss in since if task in loss) for task in last])
    assert forgetting(accuracy) == pytest.approx(mean(found), abs=1e-12)


@given(accuracy=federations())
def test_forward_transfer(avalanche, accuracy):
    found = []
    for matrix in accuracy:
        first = {task: matrix[0, task] for task in range(1, len(matrix) - 1)}
        ahead = {task: matrix[task, task] for task in first}
        found.append(told(avalanche.ForwardTransfer(), first, ahead).values())
    assert forward_transfer(accuracy) == pytest.approx(mean(found), abs=1e-12)
