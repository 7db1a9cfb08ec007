"""The service as a process of its own, until it is stopped."""

from collections.abc import Collection

import numpy as np

from fedbridge.core.addresses import LOOPBACK
from fedbridge.core.web import listening, serve_until_stopped
from fedbridge.inference import Predictor
from fedbridge.inference.serving.app import create_app
from fedbridge.inference.serving.limits import Limits


def serve(
    predictor: Predictor, host: str, port: int, limits: Limits, names: Collection[str] = ()
) -> None:
    """Serve a predictor until the process is interrupted.

    It answers who calls this machine by its address or by one of ``names``. Every model answers
    once before the first request, so that what is missing is known at once: raises UserError then,
    and where the address cannot be had.
    """
    with listening("serve", host, port) as bound:
        warm_up(predictor)
        app = create_app(predictor, limits, [*LOOPBACK, host, *names])
        serve_until_stopped("serve", app, bound)


def warm_up(predictor: Predictor) -> None:
    """Let every model answer once; raise UserError if one of them is missing."""
    reading = predictor.reading
    blank = ["blank"] if reading.modality == "text" else [np.zeros((64, 64), np.uint8)]
    for using in predictor.usable:
        predictor.predict(blank, using)
