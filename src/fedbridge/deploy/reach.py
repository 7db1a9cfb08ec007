"""Checks of the way to a server: the address, TLS, the gate and the SuperLink behind it."""

import http.client
import os
import socket
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path

from fedbridge.core.errors import UserError


class NotYetError(UserError):
    """Something stands in the way that may pass by itself: what is to answer is not there yet."""


SECONDS = 10.0
AHEAD, BEHIND = 5, 300
"""Seconds by which a client's clock may differ from the server's: beyond them Flower takes what its
SuperNode has signed for forged, and refuses it as it refuses unknown keys."""
CONTROL, FLEET = "/v1/control/list-nodes", "/v1/fleet/activate-node"


def check_gate(host: str, port: int, authority: Path) -> str:
    """Check that a gate answers with a certificate of this CA and lets nothing but clients in.

    Raises UserError saying what stands in the way.
    """
    status = called(host, port, authority, CONTROL).status
    if status != 404:
        raise UserError(
            f"{host}:{port}: must be a gate, found a SuperLink that lets everyone who reaches it "
            "register keys and start runs; start gate.sh there and the SuperLink by superlink.sh"
        )
    if called(host, port, authority, FLEET).status == 503:
        raise NotYetError(f"{host}:{port}: the gate is up, the SuperLink behind it is not")
    return f"{host}:{port} answers, with a certificate of the CA"


def clock(host: str, port: int, authority: Path) -> str:
    """Check that this machine's clock agrees with the server's; raise UserError if it is too far.

    The server reports its time in whole seconds.
    """
    told = called(host, port, authority, CONTROL).getheader("Date")
    if told is None:
        return "the server does not tell its time"
    ahead = round(time.time() - parsedate_to_datetime(told).timestamp() - 0.5)
    words = f"{abs(ahead)} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if not -BEHIND < ahead < AHEAD:
        raise UserError(
            f"this machine's clock must be at most {AHEAD} s ahead of the server's or {BEHIND} s "
            f"behind it, or no SuperNode is let in, found {words}; let both be set by NTP"
        )
    return words if abs(ahead) > 1 else "agrees with the server's"


def hidden(port: int, hosts: tuple[str, ...]) -> str:
    """Check that the SuperLink's own port is closed but on this machine; raise UserError if not."""
    for host in hosts:
        if host in ("localhost", "::1") or host.startswith("127."):
            continue
        try:
            with socket.create_connection((host, port), SECONDS):
                pass
        except OSError:
            continue
        raise UserError(
            f"{host}:{port}: the SuperLink must listen on 127.0.0.1 only, found it reachable; "
            "whoever reaches it may register keys and start runs"
        )
    return f"port {port} is closed to others"


def free(port: int, setting: str, what: str) -> str:
    """Check that a port of this machine is free; raise UserError if a process listens there."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UserError(
            f"{setting}: port {port} of this machine cannot be had: {why}; {what}"
        ) from error
    return f"port {port} is free"


def superlink(port: int, authority: Path) -> str:
    """Check that the SuperLink of this machine answers; raise NotYetError if it does not."""
    try:
        called("127.0.0.1", port, authority, FLEET)
    except NotYetError as error:
        raise NotYetError(f"no SuperLink answers at 127.0.0.1:{port}") from error
    return f"127.0.0.1:{port} answers"


def called(
    host: str,
    port: int,
    authority: Path,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> http.client.HTTPResponse:
    """Return the answer to a call, an empty one by default.

    Raises UserError saying what stands in the way, NotYetError if that may pass by itself.
    """
    place = f"{host}:{port}"
    try:
        context = ssl.create_default_context(cafile=authority)
        connection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
        try:
            connection.request("POST", path, body, dict(headers or {}))
            return connection.getresponse()
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        raise UserError(f"{place}: its certificate is refused: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise UserError(f"{place}: speaks no TLS that is understood: {error.reason}") from error
    except socket.gaierror as error:
        raise UserError(f"{place}: no such name: {error.strerror}") from error
    except TimeoutError as error:
        raise NotYetError(f"{place}: no answer in {SECONDS:.0f} seconds; a firewall?") from error
    except ConnectionRefusedError as error:
        raise NotYetError(f"{place}: nothing listens there; has the gate been started?") from error
    except (OSError, http.client.HTTPException) as error:
        raise NotYetError(f"{place}: cannot be reached: {error}") from error
