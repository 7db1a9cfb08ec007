"""The folder of an exported model: the graph or weights, its settings, and a model card."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from fedbridge.core.errors import UserError
from fedbridge.core.files import json_text, write_text
from fedbridge.core.saved import saving
from fedbridge.inference import Predictor
from fedbridge.inference.export.card import model_card
from fedbridge.inference.export.formats import to_onnx, to_safetensors, to_torchscript
from fedbridge.models.small.classifier import Classifier

KIND = "exported model"
CONFIG, CARD = "config.json", "README.md"
Format = Literal["onnx", "torchscript", "safetensors"]
FORMATS: tuple[Format, ...] = get_args(Format)
WRITERS: dict[str, tuple[str, Callable[[Classifier, Path], float]]] = {
    "onnx": ("model.onnx", to_onnx),
    "torchscript": ("model.pt", to_torchscript),
    "safetensors": ("model.safetensors", to_safetensors),
}
"""By format, the file and what writes it and returns how far its outputs are from the model's."""


class Exported(NamedTuple):
    """What was written, and the largest difference between its outputs and the model's."""

    file: Path
    difference: float


def export(predictor: Predictor, folder: str | Path, format_: str) -> Exported:
    """Write a predictor's small model into a new folder, or in the place of an earlier export.

    What was written is read again and has to give the model's outputs. Raises UserError if it
    does not, if the model cannot be exported so, or if something else is in the folder.
    """
    if format_ not in WRITERS:
        raise UserError(f"format: must be one of {', '.join(FORMATS)}, found {format_!r}")
    folder, (name, write) = Path(folder), WRITERS[format_]
    with saving(folder, KIND, {"format": format_}) as draft:
        difference = write(predictor.small, draft / name)
        write_text(draft / CONFIG, json_text(architecture_of(predictor)))
        write_text(draft / CARD, model_card(predictor, name))
    return Exported(folder / name, difference)


def architecture_of(predictor: Predictor) -> dict[str, Any]:
    """Return what the small model is built from, as ``HubClassifier`` takes it."""
    small = predictor.small
    return {
        "model": small.model,
        "input_shape": list(small.input_shape),
        "classes": list(small.classes),
        "dimension": small.anchors.shape[1],
        "temperature": small.temperature,
        "reading": asdict(predictor.reading),
        "about": predictor.about,
    }
