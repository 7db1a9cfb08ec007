"""Which data a run is about: noted when it begins, compared when it goes on."""

import hashlib
import logging
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fedbridge.config import title_of
from fedbridge.core.errors import UserError
from fedbridge.data.dataset import Dataset
from fedbridge.data.streams.scenario import Streams
from fedbridge.runs.run import Run
from fedbridge.runs.tasks import Tasks

log = logging.getLogger(__name__)
NOTED = ("name", "items", "fingerprint")


def note_data(
    run: Run, dataset: Dataset, streams: Streams, public: NDArray[np.integer[Any]]
) -> None:
    """Note a run's data as its event ``data``, or compare them with those that it began with.

    What tasks the clients have is noted with them. ``public`` is what small models read of the
    public set. Raises UserError if either has
    changed, since what clients remember are numbers of items. Nothing is noted of data that lie
    at sites.
    """
    noted = [e for e in run.events() if e["kind"] == "data" and e.keys() >= set(NOTED)]
    seen = hashlib.sha256(np.ascontiguousarray(public).tobytes()).hexdigest()
    if any(event["fingerprint"] != dataset.fingerprint for event in noted):
        _refuse(run, f"{noted[0]['items']} items of {noted[0]['name']}, and the data have")
    if any(event.get("public", seen) != seen for event in noted):
        _refuse(run, f"another public set ({title_of(run.config.data.public)}), whose data have")
    if noted or not len(dataset):
        return
    if dataset.broken or dataset.small:
        log.info(
            "%s: left out: %s; fedbridge data inspect tells which",
            dataset.name,
            " and ".join(_left_out(dataset)),
        )
    for line in dataset.notes.spoken:
        log.info("%s: %s", dataset.name, line)
    run.event(
        "data",
        name=dataset.name,
        items=len(dataset),
        classes=len(dataset.classes),
        fingerprint=dataset.fingerprint,
        public=seen,
        left_out=[*dataset.broken, *dataset.small],
        tasks=tasks_of(streams, run.config.scenario.slots),
    )


def tasks_of(streams: Streams, slots: int) -> Tasks:
    """Return by client and slot the number of classes of the task that it has then."""
    return {
        stream.name: {
            slot: len(stream.tasks[stream.own_task(slot) - 1].classes)
            for slot in range(1, slots + 1)
            if stream.takes_part(slot, 1, 1)
        }
        for stream in streams.clients
    }


def _left_out(dataset: Dataset) -> list[str]:
    found = []
    if dataset.broken:
        found.append(f"{len(dataset.broken)} that cannot be used")
    if small := len(dataset.small):
        found.append(f"{small} class{'es' if small > 1 else ''} of too few items")
    return found


def _refuse(run: Run, what: str) -> NoReturn:
    raise UserError(
        f"{run.folder}: this run began with {what} changed since; bring them back, or begin anew "
        f"in another folder (--out)"
    )
