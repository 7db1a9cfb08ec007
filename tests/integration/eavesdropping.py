"""Listening to whatever crosses the transport, and looking for private items in it."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_runs import conduct
from torch import Tensor

from fedbridge.core.errors import UserError
from fedbridge.federation import local
from fedbridge.methods.config import Config
from fedbridge.wire import Upload, decode, encode

Vectors = NDArray[np.float64]


def listen(folder: Path, config: Config) -> list[bytes]:
    """Conduct a run and return the bytes of every message, in both directions."""
    heard: list[bytes] = []

    def encode_aloud(message: object) -> bytes:
        heard.append(encode(message))  # type: ignore[arg-type]
        return heard[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "encode", encode_aloud)
        conduct(folder, config)
    return heard


def uploads_of(heard: list[bytes]) -> list[Upload]:
    """Return what was uploaded, as the server decodes it."""
    found = []
    for data in heard:
        try:
            message = decode(data, "Upload")
        except UserError:  # another kind of message
            continue
        assert isinstance(message, Upload)
        found.append(message)
    return found


def arrays_of(upload: Upload) -> dict[str, Tensor]:
    """Return every array of an upload by its name on the wire."""
    arrays = {}
    for field in fields(upload):
        value = getattr(upload, field.name)
        if isinstance(value, dict):
            arrays |= {f"{field.name}/{key}": array for key, array in value.items()}
        elif isinstance(value, Tensor):
            arrays[field.name] = value
    return arrays


def resemblance(vectors: Vectors, upload: Upload) -> Vectors:
    """Return how much of each vector ``(n, L)`` is in an upload, 1 for an exact copy.

    This is the largest absolute correlation with any L neighbouring numbers of any array, read by
    rows and by columns: neither scale nor offset nor sign hides a copy.
    """
    found = np.zeros(len(vectors))
    for array in arrays_of(upload).values():
        for numbers in (array, array.flatten(1).T) if array.ndim > 1 else (array,):
            if numbers.numel() >= vectors.shape[1]:
                found = np.maximum(found, _correlation(vectors, numbers))
    return found


def _correlation(vectors: Vectors, numbers: Tensor) -> Vectors:
    """Return each vector's largest absolute correlation with a window, through Fourier space."""
    x = numbers.double().flatten()
    x, length = x - x.mean(), vectors.shape[1]
    totals, squares = (_windows(v, length) for v in (x, x.square()))
    map_jobs = (squares - totals.square() / length).clamp(min=0).sqrt()
    v = torch.from_numpy(vectors - vectors.mean(1, keepdims=True))
    v = v / v.norm(dim=1, keepdim=True).clamp(min=1e-12)
    size = 1 << (len(x) + length).bit_length()
    level = 1e-6 * x.square().mean().sqrt() * length**0.5  # below it a window is constant
    whole, found = torch.fft.rfft(x, size), []
    for part in v.split(16):  # in parts that fit into a processor's cache
        products = torch.fft.irfft(torch.fft.rfft(part, size).conj() * whole, size)
        strength = products[:, : len(map_jobs)].abs_().div_(map_jobs.clamp(min=level))
        found.append(strength.mul_(map_jobs > level).amax(1))
    result: Vectors = torch.cat(found).numpy()
    return result


def _windows(x: Tensor, length: int) -> Tensor:
    """Return the sum over each window."""
    sums = torch.cat([x.new_zeros(1), x.cumsum(0)])
    return sums[length:] - sums[:-length]
