"""Foundation models that are ONNX graphs, of pictures or of texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedbridge.config.models import SIDE
from fedbridge.errors import UserError
from fedbridge.models import import_extra
from fedbridge.models.foundation import (
    ImageModel,
    TextModel,
    averaged,
    fingerprint,
    foreign_errors,
)
from fedbridge.models.pretrained import file_hash
from fedbridge.models.transformer import TOKENS

TOKENIZER = "tokenizer.json"
READ = ("input_ids", "attention_mask", "token_type_ids")
"""The inputs of a language model that a tokenizer fills."""


def from_onnx(
    where: str, size: int | None, device: torch.device, precision: str
) -> ImageModel | TextModel:
    """Load an ONNX file of which the first output is averaged over its places, or tokens.

    Pictures: float32 ``(B, 3, S, S)`` in [0, 1]. Texts: token ids and what else a tokenizer gives,
    by the names of ``transformers``, with ``tokenizer.json`` beside the file or one folder above.
    ONNX Runtime computes in the precision of the file. Raises UserError if the file is missing,
    damaged or wants other inputs.
    """
    name, file = f"onnx:{where}", Path(where)
    runtime = import_extra("onnxruntime", "onnx", f"large.model {name!r}")
    if not file.is_file():
        raise UserError(f"large.model: {name}: there is no such file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    usable = [*set(wanted).intersection(runtime.get_available_providers()), "CPUExecutionProvider"]
    with foreign_errors(name):
        session = runtime.InferenceSession(str(file), options, providers=usable)
    # weights may lie beside the graph: model.onnx.data
    marks = [file_hash(path) for path in sorted(file.parent.glob(f"{file.name}*"))]
    if {entry.name for entry in session.get_inputs()} & set(READ):
        return _of_texts(name, session, file, marks)
    return _of_pictures(name, session, size, marks)


def _of_pictures(name: str, session: Any, size: int | None, marks: list[str]) -> ImageModel:
    entry = session.get_inputs()[0]
    own = entry.shape[-1] if len(entry.shape) == 4 and isinstance(entry.shape[-1], int) else SIDE
    side = size or own
    free_or = [None, 3, side, side]
    if len(entry.shape) != 4 or any(
        isinstance(found, int) and found != asked
        for found, asked in zip(entry.shape[1:], free_or[1:], strict=True)
    ):
        raise UserError(
            f"large.model: {name} must read (B, 3, {side}, {side}) as large.size says, or token "
            f"ids called {READ[0]!r}, found {entry.name!r} of {tuple(entry.shape)}"
        )

    def network(pictures: Tensor) -> Tensor:
        whole = (pictures / 255.0).cpu().numpy()
        step = entry.shape[0] if isinstance(entry.shape[0], int) else len(whole)
        parts = [whole[start : start + step] for start in range(0, len(whole), step)]
        results = [session.run(None, {entry.name: part})[0] for part in parts]
        return averaged(torch.from_numpy(np.concatenate(results)))

    mark = fingerprint({"model": "onnx", "size": side}, *marks)
    with foreign_errors(name):
        dimension = network(torch.zeros(1, 3, side, side)).shape[1]
    return ImageModel(name, dimension, mark, network, side, torch.device("cpu"), "float32")


def _of_texts(name: str, session: Any, file: Path, marks: list[str]) -> TextModel:
    entries = {entry.name: entry.shape for entry in session.get_inputs()}
    if unknown := sorted(set(entries) - set(READ)):
        raise UserError(
            f"large.model: {name} must read nothing but {', '.join(READ)}, found {unknown[0]!r}"
        )
    length = next((s[1] for s in entries.values() if isinstance(s[1], int)), None)
    tokenized = _tokenizer(name, file, length)
    marks = [*marks, file_hash(_beside(name, file))]

    def network(texts: list[str]) -> Tensor:
        given = dict(zip(READ, tokenized(texts), strict=True))
        states = torch.from_numpy(session.run(None, {key: given[key] for key in entries})[0])
        if states.ndim == 2:  # the graph has pooled them itself
            return states
        weight = torch.from_numpy(given["attention_mask"]).unsqueeze(-1).to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1).clamp(min=1.0)

    settings: dict[str, object] = {"model": "onnx", "tokens": length or TOKENS}
    with foreign_errors(name):
        dimension = network(["probe"]).shape[1]
    cpu = torch.device("cpu")
    return TextModel(name, dimension, fingerprint(settings, *marks), network, cpu, "float32")


def _tokenizer(
    name: str, file: Path, length: int | None
) -> Callable[[list[str]], tuple[np.ndarray, ...]]:
    """Return what maps texts to ids, mask and types ``(B, L)``; L is fixed, or of the longest."""
    library = import_extra("tokenizers", "onnx", f"large.model {name!r}")
    with foreign_errors(name):
        tokenizer = library.Tokenizer.from_file(str(_beside(name, file)))
    tokenizer.enable_truncation(length or TOKENS)
    tokenizer.enable_padding(**{**(tokenizer.padding or {}), "length": length})

    def tokenized(texts: list[str]) -> tuple[np.ndarray, ...]:
        rows = tokenizer.encode_batch(texts)
        fields = ("ids", "attention_mask", "type_ids")
        columns = [np.array([getattr(row, of) for row in rows], np.int64) for of in fields]
        return tuple(column.reshape(len(texts), -1) for column in columns)

    return tokenized


def _beside(name: str, file: Path) -> Path:
    for folder in (file.parent, file.parent.parent):
        if (folder / TOKENIZER).is_file():
            return folder / TOKENIZER
    raise UserError(
        f"large.model: {name} reads texts: {TOKENIZER} must lie beside it, found none in "
        f"{file.parent}"
    )
