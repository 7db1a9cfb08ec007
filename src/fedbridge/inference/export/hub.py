"""The small model as the Hugging Face hub knows models: saved, loaded and pushed in its way."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter, ValidationError

from fedbridge.core.errors import UserError
from fedbridge.core.files import read_json
from fedbridge.data.readers.reading import Reading
from fedbridge.inference import Predictor
from fedbridge.inference.export.card import model_card
from fedbridge.inference.export.folder import CONFIG, architecture_of
from fedbridge.models import import_extra
from fedbridge.models.calibration import Mixture
from fedbridge.models.small.classifier import Classifier
from fedbridge.models.trust import require_trusted

if TYPE_CHECKING:
    from huggingface_hub import PyTorchModelHubMixin
else:
    _hub = import_extra("huggingface_hub", "hub", "a model for the Hugging Face hub")
    PyTorchModelHubMixin = _hub.PyTorchModelHubMixin


class HubClassifier(Classifier, PyTorchModelHubMixin, library_name="fedbridge"):
    """A Classifier with ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``.

    ``from_pretrained`` also reads what ``fedbridge export --format safetensors`` has written.
    """

    def __init__(
        self,
        model: str,
        input_shape: list[int],
        classes: list[str],
        dimension: int,
        temperature: float,
        **described: dict[str, Any],
    ) -> None:
        """Build the model without knowledge; ``described`` is its ``reading`` and ``about``.

        Raises UserError if these do not fit.
        """
        super().__init__(model, tuple(input_shape), tuple(classes), dimension, temperature)
        try:
            self.reading = TypeAdapter(Reading).validate_python(described.get("reading"))
        except ValidationError as error:
            raise UserError(f"config.json: reading: {error.errors()[0]['msg']}") from error
        self.about = dict(described.get("about") or {})

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        trust: Collection[str] = (),
        **settings: Any,
    ) -> "HubClassifier":
        """Return the model in a folder or on the hub; ``trust`` is as for ``load_predictor``.

        Raises UserError if its settings are damaged, or name a function that is not trusted.
        """
        where = pretrained_model_name_or_path
        if (config := Path(where) / CONFIG).is_file():
            read_json(config, "exported model")
        # given here, and so never taken from the config of the folder's author
        allowed = (trust,) if isinstance(trust, str) else tuple(trust)
        found: HubClassifier = super().from_pretrained(where, trust=allowed, **settings)
        return found

    @classmethod
    def _from_pretrained(cls, *, trust: Collection[str] = (), **settings: Any) -> "HubClassifier":
        """Build what was found; raise UserError if its model is a function that is not trusted."""
        path = Path(str(settings["model_id"])) / CONFIG
        require_trusted(path, [str(settings.get("model"))], None, trust)
        found: HubClassifier = super()._from_pretrained(**settings)
        return found

    @classmethod
    def of(cls, predictor: Predictor) -> "HubClassifier":
        """Return a predictor's small model, with a copy of its weights."""
        model = cls(**architecture_of(predictor))
        model.load_state_dict(predictor.small.state_dict())
        return model.eval()

    def predictor(self) -> Predictor:
        """Return what predicts from files, pictures and texts with this model."""
        return Predictor(
            small=self.eval(),
            reading=self.reading,
            mixture=Mixture(),
            sharpness=Mixture.large,
            about=self.about,
            device=torch.device(self.anchors.device),
        )

    def generate_model_card(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model card that is pushed along."""
        from huggingface_hub import ModelCard

        return ModelCard(model_card(self.predictor(), "model.safetensors"))
