"""Writers of the small model as a graph or as weights; each reads again what it wrote."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.core.rng import rng_for
from fedbridge.core.states import read_state
from fedbridge.core.tokens import VOCABULARY
from fedbridge.data.shapes import dead_leaves
from fedbridge.models import import_extra
from fedbridge.models.small.classifier import Classifier
from fedbridge.models.small.space import as_input

SIZES = (1, 3, 8)
"""Items at once on which outputs are compared; a graph is traced with other ones."""
TOLERANCE = 1e-4
"""Largest difference in scores, in units of their factor ``tau``."""
INPUT, OUTPUT = "input", "scores"


def to_onnx(small: Classifier, path: Path) -> float:
    """Write an ONNX graph from ``input (B, ...)`` to ``scores (B, C)``, for any B.

    Raises UserError if the extra is missing or the graph computes something else.
    """
    runtime = import_extra("onnxruntime", "onnx", "an export to ONNX")
    import_extra("onnxscript", "onnx", "an export to ONNX")
    model = _still(small)
    with _foreign("ONNX", small.model):
        torch.onnx.export(
            model,
            (example(model.input_shape, 2),),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def answer(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0])

    return compared("ONNX", model, answer)


def to_torchscript(small: Classifier, path: Path) -> float:
    """Write a TorchScript graph; raise UserError if it computes something else."""
    model = _still(small)
    with _foreign("TorchScript", small.model):
        graph = torch.jit.trace(model, (example(model.input_shape, 2),), check_trace=False)
        torch.jit.save(graph, str(path))
        again = torch.jit.load(str(path))
    return compared("TorchScript", model, again)


def to_safetensors(small: Classifier, path: Path) -> float:
    """Write all weights and the anchors."""
    model = _still(small)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    again = _empty(model)
    again.load_state_dict(read_state(path))
    return compared("safetensors", model, again)


@torch.no_grad()
def compared(name: str, model: Classifier, answer: Callable[[Tensor], Tensor]) -> float:
    """Return the largest difference in scores; raise UserError if it is too large."""
    differences = []
    for size in SIZES:
        x = example(model.input_shape, size)
        with _foreign(name, model.model):
            found = answer(x)
        wanted = model(x)
        if found.shape != wanted.shape:
            raise UserError(
                f"format: {name} must give scores of shape {tuple(wanted.shape)} for "
                f"{model.model!r}, found {tuple(found.shape)}"
            )
        differences.append((found - wanted).abs().max())
    worst = float(torch.stack(differences).max())  # NaN if one is
    limit = TOLERANCE * model.temperature
    if not worst <= limit:
        raise UserError(
            f"format: {name} must give the scores of {model.model!r} within {limit:g}, found a "
            f"difference of {worst:g}"
        )
    return worst


def example(shape: tuple[int, ...], count: int) -> Tensor:
    """Return preprocessed inputs: pictures of random shapes, or texts of random words."""
    rng = rng_for(0, "export", count)
    if len(shape) == 3:
        return as_input(dead_leaves(shape, count, rng))
    ids = torch.from_numpy(rng.integers(1, VOCABULARY, (count, *shape)))
    lengths = torch.from_numpy(rng.integers(1, shape[0] + 1, (count, 1)))
    return ids * (torch.arange(shape[0]) < lengths)


def _still(small: Classifier) -> Classifier:
    """Return a copy on the CPU whose layers do as in use."""
    copy = _empty(small)
    copy.load_state_dict({name: value.cpu() for name, value in small.state_dict().items()})
    return copy


def _empty(small: Classifier) -> Classifier:
    dimension, temperature = small.anchors.shape[1], small.temperature
    same = Classifier(small.model, small.input_shape, small.classes, dimension, temperature)
    return same.eval().requires_grad_(False)


@contextmanager
def _foreign(name: str, model: str) -> Iterator[None]:
    """Keep exporters quiet, and turn what they raise into a UserError with its first line."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as error:
        line = next(iter(str(error).strip().splitlines()), "")
        raise UserError(
            f"format: {name} cannot hold {model!r}: {type(error).__name__}: {line}"
        ) from error
    finally:
        log.setLevel(before)
