"""What all sides agree on, worked out at each place from its own copy of the common config."""

from functools import cache

import numpy as np

from fedbridge.core.errors import UserError
from fedbridge.data.public import public_set
from fedbridge.federation.handshake import differences, hello
from fedbridge.federation.setup import context_of, plan
from fedbridge.methods.config import Config
from fedbridge.models.fm.foundation import foundation_of
from fedbridge.wire import Hello, decode


@cache
def agreement(config: Config) -> tuple[Hello, tuple[str, ...]]:
    """Return what this place has to say at the handshake, and the names of all clients.

    Nothing is encoded by the FM. Raises UserError if the data set, the public set or the FM
    cannot be had here.
    """
    dataset, streams = plan(config)
    public = public_set(config.data, dataset, streams, config.seed)
    nothing = np.zeros((len(public.rows), 1), np.float32)
    shared = context_of(config, dataset, public, nothing)
    names = tuple(stream.name for stream in streams.clients)
    return hello("", shared, foundation_fingerprint(config)), names


def foundation_fingerprint(config: Config) -> str:
    """Return the sha256 of the FM that is installed here; empty where the config wants none."""
    return foundation_of(config).fingerprint if config.large.embeds else ""


def doubts_about_client(config: Config, theirs: bytes) -> list[str]:
    """Return in words what speaks against a client that presents itself with these bytes."""
    try:
        message = decode(theirs, "Hello")
    except UserError as error:
        return [str(error)]
    assert isinstance(message, Hello)
    return differences(agreement(config)[0], message)
