"""Where models compute, and in which precision the FM does."""

import os

import torch

from fedbridge.config import SITE, Settings
from fedbridge.core.errors import UserError


def device_of(name: str) -> torch.device:
    """Return the device that a setting names; raise UserError if it is not there.

    A GPU is made to compute repeatably from then on, in this process.
    """
    device = _named(name)
    if device.type == "cuda":
        _compute_repeatably()
    return device


def _named(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"engine.device: must be auto, cpu or cuda, found {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"engine.device: no CUDA device is available, found {name!r}")
    return device


def _compute_repeatably() -> None:
    """Make a GPU add in one order; else no run repeats another and none is resumed exactly.

    An operation that has no such form only warns.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def precision_of(config: Settings) -> str:
    """Return the precision of the FM's encoding, by the name of torch's type.

    Sites must agree on what the FM says whatever machines they have, so there ``auto`` is float32.
    """
    if config.engine.precision != "auto":
        return config.engine.precision
    on_gpu = config.data.name != SITE and device_of(config.engine.device).type == "cuda"
    return "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"
