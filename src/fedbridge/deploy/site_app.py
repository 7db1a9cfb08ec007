"""What a SuperNode loads: the client's app. Why it may not be loaded, is said at the site alone."""

import logging

from flwr.clientapp import ClientApp

log = logging.getLogger(__name__)


def _loaded() -> ClientApp:
    """Return the app; what is wrong here, with torch say, and where, is logged."""
    try:
        from fedbridge.runs.flower_app import client_app
    except Exception:
        log.exception("the client's app cannot be loaded")
        raise ImportError("the reason stands in the log of its SuperNode") from None
    return client_app


client_app = _loaded()
