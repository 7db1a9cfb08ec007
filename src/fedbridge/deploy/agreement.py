"""The files that all sides get a copy of."""

import json
from pathlib import Path

from fedbridge.core.errors import UserError
from fedbridge.core.files import read_json
from fedbridge.deploy.folder import AGREED, CONFIG
from fedbridge.federation.agreement import agreement
from fedbridge.methods.files import dump_config, load_config
from fedbridge.wire import Hello


def common_files(config: Path, clients: tuple[str, ...]) -> dict[str, str]:
    """Return what all sides get a copy of, by file name: a config and what follows from it.

    Raises UserError if the config is wrong or is for other clients.
    """
    settings = load_config(config)
    if settings.engine.precision == "auto":  # would be that of each place's own machine
        engine = settings.engine.model_copy(update={"precision": "float32"})
        settings = settings.model_copy(update={"engine": engine})
    said, names = agreement(settings)
    if set(names) != set(clients):
        raise UserError(
            f"{config}: its clients must be those of the deployment, {', '.join(clients)}; found "
            f"{', '.join(names)}"
        )
    return {CONFIG: dump_config(settings), AGREED: json.dumps(vars(said), indent=1) + "\n"}


def read_agreed(path: Path) -> Hello:
    """Return what was agreed on; raise UserError if the file is damaged."""
    try:
        return Hello(**read_json(path, "agreement"))
    except (UserError, TypeError) as error:
        raise UserError(
            f"{path}: must be as fedbridge deploy configure wrote it: {error}"
        ) from error
