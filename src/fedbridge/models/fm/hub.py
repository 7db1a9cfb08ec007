"""Models of folders and of the Hugging Face hub, as far as they can be had without waiting."""

from pathlib import Path

from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UnavailableError, UserError

PATIENCE = 10  # seconds that the hub may take to answer
WANTED = ["*.json", "*.txt", "*.model", "*.safetensors"]
"""What is fetched of a model; files that could hold pickled objects are not."""


def at_hand(where: str, name: str, field: str = "large.model") -> str:
    """Return a folder or hub name, or where the hub is out of reach the folder of what it gave.

    ``name`` is how the config's ``field`` writes it. The libraries themselves would try for a
    minute to reach the hub. Raises UserError if there is no such folder, or the hub has given
    nothing of that name.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if Path(where).is_dir():
        return where
    if where.startswith((".", "/", "~")) or where.count("/") > 1:
        raise UserError(f"{field}: {name}: there is no such folder")
    try:
        HfApi().model_info(where, timeout=PATIENCE)
    except HfHubHTTPError:
        return where  # it answers, and the libraries know how to tell what is wrong
    except Exception as error:  # of whatever library it speaks HTTP with
        config = try_to_load_from_cache(where, "config.json")
        if isinstance(config, str):
            return str(Path(config).parent)
        raise UnavailableError(
            f"{field}: {name}: the Hugging Face hub cannot be reached ({error}) "
            f"and has not given it before; a folder needs no network"
        ) from error
    return where


def folder_of(where: str, name: str, field: str = "large.model") -> Path:
    """Return the folder of a model, fetched from the hub if need be; raises as above."""
    from huggingface_hub import snapshot_download

    place = at_hand(where, name, field)
    if Path(place).is_dir():
        return Path(place)
    with foreign_errors(name, field):
        return Path(snapshot_download(place, allow_patterns=WANTED))
