"""Foundation models that are ONNX graphs, of pictures or of texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedbridge.config.models import SIDE
from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.models import import_extra
from fedbridge.models.fm.foundation import (
    ImageModel,
    TextModel,
    averaged,
    fingerprint,
)
from fedbridge.models.fm.pretrained import file_hash
from fedbridge.models.fm.transformer import TOKENS

TOKENIZER = "tokenizer.json"
READ = ("input_ids", "attention_mask", "token_type_ids")
"""The inputs of a language model that a tokenizer fills."""
FIELDS = ("ids", "attention_mask", "type_ids")
"""What a tokenizer calls them."""
WHOLE = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")
TYPES: dict[str, str] = {
    **{f"tensor({name})": name for name in WHOLE},
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
}
"""What ONNX Runtime calls the types that an input may have."""
OnnxInputs = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class OnnxGraph:
    """An ONNX graph: arrays by the names of its inputs to its first output."""

    name: str
    session: Any

    @property
    def inputs(self) -> dict[str, Any]:
        """Return what is known of its inputs, by name."""
        return {entry.name: entry for entry in self.session.get_inputs()}

    def fixed(self, axis: int) -> int | None:
        """Return the length of an axis that all inputs have, None where any will do.

        Raises UserError if they want different ones.
        """
        found = {e.shape[axis] for e in self.inputs.values() if isinstance(e.shape[axis], int)}
        if len(found) > 1:
            raise UserError(
                f"large.model: {self.name}: its inputs must be of equal lengths, found "
                f"{sorted(found)} along axis {axis}"
            )
        return next(iter(found), None)

    def __call__(self, given: OnnxInputs) -> Tensor:
        """Return float32 ``(B, ...)``; a batch of a fixed size is filled up and cut off again."""
        count = len(next(iter(given.values())))
        step = self.fixed(0) or count
        parts = []
        for start in range(0, count, step):
            part = {key: _filled(value[start : start + step], step) for key, value in given.items()}
            parts.append(self._run(part, step)[: count - start])
        return torch.from_numpy(np.concatenate(parts)).float()

    def _run(self, given: OnnxInputs, count: int) -> NDArray[Any]:
        cast = {key: self._cast(key, value) for key, value in given.items()}
        first = self.session.get_outputs()[0].name
        found = self.session.run([first], cast)[0]
        if not isinstance(found, np.ndarray) or found.dtype.kind != "f":
            kind = getattr(found, "dtype", type(found).__name__)
            raise UserError(
                f"large.model: {self.name}: its first output, {first!r}, must be of floating point "
                f"numbers, found {kind}"
            )
        if found.ndim not in (2, 3, 4) or len(found) != count:
            raise UserError(
                f"large.model: {self.name}: its first output, {first!r}, must be (B, D), (B, L, D) "
                f"or (B, D, H, W) for {count} items, found {found.shape}"
            )
        return found

    def _cast(self, key: str, value: NDArray[Any]) -> NDArray[Any]:
        """Return an array as the graph asks for it; raise UserError if it would say another."""
        wanted = TYPES.get(self.inputs[key].type)
        if wanted is None:
            raise UserError(
                f"large.model: {self.name}: its input {key!r} must be of numbers, found "
                f"{self.inputs[key].type}"
            )
        cast = value.astype(wanted)
        if value.dtype.kind == "i" and not np.array_equal(cast, value):
            raise UserError(
                f"large.model: {self.name}: its input {key!r} is of {wanted}, which cannot hold "
                f"{value.max()}"
            )
        return cast


def from_onnx(
    where: str, size: int | None, device: torch.device, precision: str
) -> ImageModel | TextModel:
    """Load an ONNX file of which the first output is averaged over its places, or tokens.

    Pictures: ``(B, 3, S, S)`` in [0, 1], or 0 to 255 where it asks for whole numbers. Texts: token
    ids and what else a tokenizer gives, by the names of ``transformers``, with ``tokenizer.json``
    beside the file or one folder above. ONNX Runtime computes in the precision of the file. Raises
    UserError if the file is missing, damaged or wants other inputs.
    """
    name, file = f"onnx:{where}", Path(where)
    runtime = import_extra("onnxruntime", "onnx", f"large.model {name!r}")
    if not file.is_file():
        raise UserError(f"large.model: {name}: there is no such file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what goes wrong is raised as well
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    usable = [*set(wanted).intersection(runtime.get_available_providers()), "CPUExecutionProvider"]
    with foreign_errors(name):
        graph = OnnxGraph(name, runtime.InferenceSession(str(file), options, providers=usable))
    # weights may lie beside the graph: model.onnx.data
    marks = [file_hash(path) for path in sorted(file.parent.glob(f"{file.name}*"))]
    if graph.inputs.keys() & set(READ):
        return _of_texts(graph, file, marks)
    return _of_pictures(graph, size, marks)


def _of_pictures(graph: OnnxGraph, size: int | None, marks: list[str]) -> ImageModel:
    name, (entry, *others) = graph.name, graph.inputs.values()
    own = entry.shape[-1] if len(entry.shape) == 4 and isinstance(entry.shape[-1], int) else SIDE
    side = size or own
    if len(entry.shape) != 4 or any(
        isinstance(found, int) and found != asked
        for found, asked in zip(entry.shape[1:], (3, side, side), strict=True)
    ):
        raise UserError(
            f"large.model: {name} must read (B, 3, {side}, {side}) as large.size says, or token "
            f"ids called {READ[0]!r}, found {entry.name!r} of {tuple(entry.shape)}"
        )
    if others:
        raise UserError(
            f"large.model: {name} must read pictures alone, found an input {others[0].name!r}"
        )
    whole = TYPES.get(entry.type) in WHOLE

    def network(pictures: Tensor) -> Tensor:
        shown = pictures.round().clamp(0, 255) if whole else pictures / 255.0
        return averaged(graph({entry.name: shown.cpu().numpy()}))

    mark = fingerprint({"model": "onnx", "size": side}, *marks)
    with foreign_errors(name):
        dimension = network(torch.zeros(1, 3, side, side)).shape[1]
    return ImageModel(name, dimension, mark, network, side, torch.device("cpu"), "float32")


def _of_texts(graph: OnnxGraph, file: Path, marks: list[str]) -> TextModel:
    name = graph.name
    if unknown := sorted(graph.inputs.keys() - set(READ)):
        raise UserError(
            f"large.model: {name} must read nothing but {', '.join(READ)}, found {unknown[0]!r}"
        )
    if wrong := [e for e in graph.inputs.values() if len(e.shape) != 2]:
        raise UserError(
            f"large.model: {name}: its input {wrong[0].name!r} must be (B, L), found "
            f"{tuple(wrong[0].shape)}"
        )
    marks = [*marks, file_hash(_beside(name, file))]
    reader = _Reader(graph, _tokenizer(name, file))
    settings: dict[str, object] = {"model": "onnx", "tokens": reader.longest}
    with foreign_errors(name):
        dimension = reader(["probe"]).shape[1]
    cpu = torch.device("cpu")
    return TextModel(name, dimension, fingerprint(settings, *marks), reader, cpu, "float32")


class _Reader:
    """A graph of texts with its tokenizer before it and the mean over tokens after it."""

    def __init__(self, graph: OnnxGraph, tokenizer: Any) -> None:
        self.graph = graph
        self.tokenizer = tokenizer
        self.length = graph.fixed(1)
        self.padding = int((tokenizer.padding or {}).get("pad_id", 0))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        with foreign_errors(graph.name):
            self.longest = self.length or self._places(TOKENS)
        tokenizer.enable_truncation(self.longest)

    def __call__(self, texts: list[str]) -> Tensor:
        """Map B strings to ``(B, D)``."""
        rows = self.tokenizer.encode_batch(texts)
        widths = np.array([self.length or max(1, len(row.ids)) for row in rows])
        if READ[1] in self.graph.inputs:  # it takes a mask of the padding
            widths[:] = widths.max()
        groups = [np.flatnonzero(widths == width) for width in np.unique(widths)]
        parts = [self._encoded([rows[k] for k in own], int(widths[own[0]])) for own in groups]
        return torch.cat(parts)[torch.from_numpy(np.concatenate(groups)).argsort()]

    def _encoded(self, rows: list[Any], width: int) -> Tensor:
        given = {key: np.zeros((len(rows), width), np.int64) for key in READ}
        given[READ[0]][:] = self.padding
        for key, field in zip(READ, FIELDS, strict=True):
            for place, row in enumerate(rows):
                given[key][place, : len(row.ids)] = getattr(row, field)
        states = self.graph({key: given[key] for key in self.graph.inputs})
        if states.ndim == 2:  # the graph has pooled them itself
            return states
        weight = torch.from_numpy(given[READ[1]]).unsqueeze(-1).to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)

    def _places(self, most: int) -> int:
        """Return how many tokens the graph can read, at most so many: no graph says it.

        Raises whatever the graph raises if it cannot read a single one.
        """
        ids = np.resize(np.array(self.tokenizer.encode("probe").ids or [0]), most)

        def read(count: int) -> None:
            given = {READ[0]: ids[None, :count], READ[1]: np.ones((1, count), np.int64)}
            given[READ[2]] = np.zeros((1, count), np.int64)
            self.graph({key: given[key] for key in self.graph.inputs})

        def reads(count: int) -> bool:
            try:
                read(count)
            except UserError:
                raise
            except Exception:  # of the runtime's many kinds: more than there are places for
                return False
            return True

        if reads(most):
            return most
        read(least := 1)  # what fails here too is no lack of positions, and is reported
        while most - least > 1:
            middle = (least + most) // 2
            least, most = (middle, most) if reads(middle) else (least, middle)
        return least


def _tokenizer(name: str, file: Path) -> Any:
    library = import_extra("tokenizers", "onnx", f"large.model {name!r}")
    with foreign_errors(name):
        return library.Tokenizer.from_file(str(_beside(name, file)))


def _filled(part: NDArray[Any], size: int) -> NDArray[Any]:
    """Return a batch of so many items, the last one repeated where there are fewer."""
    missing = size - len(part)
    return np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part


def _beside(name: str, file: Path) -> Path:
    for folder in (file.parent, file.parent.parent):
        if (folder / TOKENIZER).is_file():
            return folder / TOKENIZER
    raise UserError(
        f"large.model: {name} reads texts: {TOKENIZER} must lie beside it, found none in "
        f"{file.parent}"
    )
