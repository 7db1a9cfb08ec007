"""Where models compute, and in which precision the FM does."""

import torch

from fedbridge.config import SITE, Config
from fedbridge.errors import UserError


def device_of(name: str) -> torch.device:
    """Return the device that a setting names; raise UserError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"engine.device: must be auto, cpu or cuda, found {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"engine.device: no CUDA device is there, found {name!r}")
    return device


def precision_of(config: Config) -> str:
    """Return the precision of the FM's encoding, by the name of torch's type.

    Sites must agree on what the FM says whatever machines they have, so there ``auto`` is float32.
    """
    if config.engine.precision != "auto":
        return config.engine.precision
    on_gpu = config.data.name != SITE and device_of(config.engine.device).type == "cuda"
    return "bfloat16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"
