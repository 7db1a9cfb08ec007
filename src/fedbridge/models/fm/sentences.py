"""Foundation models of ``sentence-transformers``, with their own pooling and prompts."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.models import import_extra
from fedbridge.models.fm.foundation import TextModel, fingerprint, state_hash
from fedbridge.models.fm.hub import folder_of
from fedbridge.models.fm.transformer import pad, places_of

PICKLE, SAFE = "pytorch_model.bin", "model.safetensors"


def from_sentence_transformers(
    where: str, size: int | None, device: torch.device, precision: str
) -> TextModel:
    """Load a folder, or a name on the hub; only safetensors are read, and no code of others.

    Raises UserError if it is missing, damaged or no model of texts.
    """
    name = f"sentence-transformers:{where}"
    library = import_extra(
        "sentence_transformers", "sentence-transformers", f"large.model {name!r}"
    )
    import_extra("transformers", "transformers", name).utils.logging.disable_progress_bar()
    folder = folder_of(where, name, "large.model")
    _refuse_pickles(name, folder)
    with foreign_errors(name), torch.random.fork_rng(devices=[]):
        model = library.SentenceTransformer(
            str(folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        ).eval()

    _fit(model)

    def network(texts: list[str]) -> Tensor:
        embeddings: Tensor = model.encode(texts, convert_to_tensor=True, show_progress_bar=False)
        return embeddings

    with foreign_errors(name):
        dimension = network(["probe"]).shape[1]
    mark = fingerprint({"precision": precision, **_settings(model)}, state_hash(model))
    return TextModel(name, dimension, mark, network, device, precision)


def _fit(model: Any) -> None:
    """Truncate texts to the model's positions, and pad them where the model does not say how."""
    inner = getattr(model[0], "auto_model", None)
    if inner is not None:
        places, own = places_of(inner, model.tokenizer), model.max_seq_length
        model.max_seq_length = min(own or places, places)
        pad(model.tokenizer)


def _refuse_pickles(name: str, folder: Path) -> None:
    """Raise UserError if weights exist as a pickle only, which the library would read."""
    for pickle in sorted(folder.rglob(PICKLE)):
        if not (pickle.parent / SAFE).is_file():
            raise UserError(
                f"large.model: {name}: weights must be {SAFE}, found {pickle}, which could hold "
                "pickled objects"
            )


def _settings(model: Any) -> dict[str, object]:
    """Return what is done to a text besides the weights."""
    modules: list[list[str]] = []
    for one in model:
        settings: dict[str, object] = getattr(one, "get_config_dict", dict)()
        modules.append([type(one).__name__, repr(sorted(settings.items()))])
    vocabulary: dict[str, int] = getattr(model.tokenizer, "get_vocab", dict)()
    return {
        "model": "sentence-transformers",
        "modules": modules,
        "tokens": model.max_seq_length,
        "prompt": (model.prompts or {}).get(model.default_prompt_name or "", ""),
        "vocabulary": vocabulary,
    }
