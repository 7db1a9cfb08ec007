"""What a server and a client must know to find each other: ``server.env`` and ``client.env``.

Shell, systemd and Compose read these files as they are.
"""

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from fedbridge.config.section import Section
from fedbridge.core.errors import UserError
from fedbridge.core.files import DEVICES

SERVER, CLIENT = "server.env", "client.env"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
LOOPBACK = ("localhost", "127.0.0.1")


def client_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return clients' names; raise UserError if there is none, or one is unfit or doubled."""
    found = tuple(names)
    if not found:
        raise UserError("clients: must name at least one client, found none")
    for name in found:
        if not NAME.fullmatch(name):
            raise UserError(
                "clients: a name must be a letter or digit and then at most 62 letters, digits, "
                f"dots, hyphens or underscores, found {name!r}"
            )
        if name.partition(".")[0].casefold() in DEVICES or name.endswith("."):
            raise UserError(f"clients: must not be a name that Windows keeps, found {name!r}")
    folded = [name.casefold() for name in found]  # some file systems know no case
    if doubled := next((n for i, n in enumerate(found) if folded[i] in folded[:i]), None):
        raise UserError(f"clients: names must differ, and not by case alone, found {doubled!r}")
    return found


def host_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return hosts with those of this machine itself; raise UserError if one is unfit."""
    for name in (found := tuple(names)):
        if not _is_host(name):
            raise UserError(f"hosts: must be a DNS name or an IP address, found {name!r}")
    return tuple(dict.fromkeys((*found, *LOOPBACK)))


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        numeric = name.replace(".", "").isdigit()  # an address that is none, such as 10.0.0.256
        labels = name.split(".")
        return len(name) <= 253 and not numeric and all(map(LABEL.fullmatch, labels))
    return True


def _listed(value: Any) -> Any:
    return tuple(value.split(",")) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Port = Annotated[int, Field(ge=1, le=65535)]


class ServerSettings(Section):
    """Where the server is reached, and by whom."""

    hosts: Names
    """Names and addresses that its certificate is for; clients use the first."""
    listen: str = "0.0.0.0"
    """Address on which the gate listens."""
    port: Port
    """Port of the gate."""
    superlink_port: Port
    """Port of the SuperLink, on this machine only."""
    clients: Names

    @property
    def address(self) -> str:
        """Return the address that clients connect to, ``HOST:PORT``."""
        host = self.hosts[0]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class ClientSettings(Section):
    """Who a client is, and where it finds the server."""

    client: str
    superlink: str
    """``HOST:PORT`` of the server's gate."""
    runtime_port: Port
    """Port of the SuperNode for its own processes, on this machine only."""

    @property
    def endpoint(self) -> tuple[str, int]:
        """Return host and port of the server; raise UserError if they are none."""
        host, _, port = self.superlink.rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"SUPERLINK: must be HOST:PORT, found {self.superlink!r}")
        return host.strip("[]"), int(port)


S = TypeVar("S", ServerSettings, ClientSettings)


def read_env(path: Path, kind: type[S]) -> S:
    """Return the settings of a file; raise UserError naming the line or field that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read these settings: {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    pairs = {}
    for line in (line for line in lines if line and not line.startswith("#")):
        key, equals, value = line.partition("=")
        if not equals:
            raise UserError(f"{path}: every line must be NAME=VALUE, found {line!r}")
        pairs[key.lower()] = value.strip("'\"")
    try:
        return kind.model_validate(pairs)
    except ValidationError as error:
        item = error.errors()[0]
        field = ".".join(str(part).upper() for part in item["loc"])
        raise UserError(f"{path}: {field}: {item['msg']}, found {item['input']!r}") from error


def write_env(settings: ServerSettings | ClientSettings) -> str:
    """Return settings as the text of their file."""
    values = settings.model_dump().items()
    lines = [f"{key.upper()}={','.join(v) if isinstance(v, tuple) else v}" for key, v in values]
    return "\n".join(lines) + "\n"
