"""Whether the data are what a fusion can make inputs of."""

from fedbridge.config import Settings
from fedbridge.core.errors import UserError
from fedbridge.data import DATASETS
from fedbridge.methods.registry import fusion_of


def require_pictures(config: Settings, modality: str | None = None) -> None:
    """Raise UserError if the fusion makes inputs and the data, as far as is known, are texts."""
    name = config.data.name
    if modality is None and name in DATASETS:
        modality = DATASETS[name].modality
    if fusion_of(config).pictures_only and modality == "text":
        raise UserError(
            f"fusion.name: {config.fusion.name!r} synthesises inputs, so the data must be "
            f"pictures, found {name!r}, which is text"
        )
