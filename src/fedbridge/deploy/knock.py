"""Asks the server, as a client's SuperNode would, whether it knows this client's key."""

import base64
from pathlib import Path

from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from fedbridge.core.errors import UserError
from fedbridge.deploy.keys import read_client_key
from fedbridge.deploy.reach import FLEET, NotYetError, called
from fedbridge.deploy.settings import CLIENT, ClientSettings, read_env

KNOWN, UNKNOWN, UNSIGNED = 400, 412, 401
"""Answers to a call that nobody is let in by: it says that a SuperNode gives a sign of life every
0 seconds. Whose key is unknown is refused for that, everybody else for those seconds."""


def registered(folder: Path) -> str:
    """Check that the server knows the key of a client's folder; raise NotYetError until it does.

    Raises UserError if it does not accept what the key signs.
    """
    settings = read_env(folder / CLIENT, ClientSettings)
    key = read_client_key(folder / "key")
    public, moment = public_key_to_bytes(key.public_key()), now().isoformat()
    headers = {
        "Content-Type": PROTOBUF_MEDIA_TYPE,
        FLEET_HTTP_PUBLIC_KEY_HEADER: base64.b64encode(public).decode("ascii"),
        FLEET_HTTP_SIGNATURE_HEADER: base64.b64encode(
            sign_message(key, moment.encode("ascii"))
        ).decode("ascii"),
        TIMESTAMP_HEADER: moment,
    }
    call = ActivateNodeRequest(public_key=public, heartbeat_interval=0.0).SerializeToString()
    status = called(*settings.endpoint, folder / "ca.crt", FLEET, call, headers).status
    if status == UNKNOWN:
        raise NotYetError(
            f"{settings.client}: the server does not know this key, or no more; at the server: "
            f"./register.sh {settings.client}"
        )
    if status == UNSIGNED:
        raise UserError(
            f"{settings.client}: the server does not accept what this key signs; are both clocks "
            "right? fedbridge deploy check . tells"
        )
    return "the server knows this key" if status == KNOWN else f"the server answers {status}"
