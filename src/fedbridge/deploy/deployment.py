"""A deployment as one object: what ``fedbridge deploy`` does, from Python.

What a method needs is loaded when it is called: the command line's help needs none of it.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fedbridge.core.errors import UserError

if TYPE_CHECKING:
    from fedbridge.deploy.check import CheckResult

PORT, DAYS = 8000, 365
LAST_PORT = 65534
"""The SuperLink takes the next one."""


class Deployment:
    """The folder of a deployment; ``check`` is also for a part of it, at the server or a site.

    Raises UserError if what this needs is not installed. The methods do if the folder is none
    that ``init`` has written.
    """

    def __init__(self, folder: str | Path) -> None:
        require_extra()
        self.folder = Path(folder)

    @classmethod
    def init(
        cls,
        folder: str | Path,
        clients: Sequence[str],
        hosts: Sequence[str] = (),
        config: str | Path | None = None,
        port: int = PORT,
        days: int = DAYS,
    ) -> Self:
        """Write a folder with certificates, keys, settings and scripts, at once or not at all.

        ``hosts`` are the server's names and addresses, of which clients use the first; ``config``
        is the experiment, as for ``configure``; ``port`` is where clients connect, and the
        SuperLink takes the next; ``days`` is how long the certificate is valid.
        """
        made = cls(folder)
        from fedbridge.deploy import folder as parts
        from fedbridge.deploy.settings import ServerSettings, client_names, host_names

        if not 1 <= port <= LAST_PORT:
            raise UserError(f"port: must be from 1 to {LAST_PORT}, found {port!r}")
        _require_days(days)
        names = client_names(clients)
        settings = ServerSettings(
            hosts=host_names(hosts), port=port, superlink_port=port + 1, clients=names
        )
        parts.require_unused(made.folder)
        common = _common_files(config, names) if config is not None else {}
        parts.init(made.folder, settings, days, common)
        return made

    @property
    def clients(self) -> tuple[str, ...]:
        """Return the names of the clients."""
        from fedbridge.deploy.folder import deployed

        return deployed(self.folder).clients

    def configure(self, config: str | Path) -> tuple[str, ...]:
        """Copy the common config to server and clients, and what they must agree on for it.

        Return the clients whose folders are not here, to which both files are to be brought.
        """
        from fedbridge.deploy.folder import deployed, share

        settings = deployed(self.folder)
        return share(self.folder, settings, _common_files(config, settings.clients))

    def add(self, name: str) -> Path:
        """Write the folder of one more client and return it; the server learns its key."""
        from fedbridge.deploy.folder import add

        return add(self.folder, name)

    def renew(self, hosts: Sequence[str] = (), days: int = DAYS) -> None:
        """Replace the server's certificate, for new names if there are any."""
        from fedbridge.deploy.folder import renew

        _require_days(days)
        renew(self.folder, hosts, days)

    def check(self, offline: bool = False) -> list["CheckResult"]:
        """Return what is right and what is wrong, each in words.

        ``offline`` leaves connections out. A finding has ``place``, ``what``, ``ok``, ``words``.
        """
        from fedbridge.deploy.check import check

        return check(self.folder, offline)

    def __repr__(self) -> str:
        return f"Deployment({str(self.folder)!r})"


def require_extra() -> None:
    """Raise UserError if what a deployment needs is not installed."""
    if importlib.util.find_spec("cryptography") is None:
        raise UserError(
            'deploy: needs the extra "flower", and cryptography is not there; pip install '
            '"fedbridge[flower]"'
        )


def _require_days(days: int) -> None:
    if days < 1:
        raise UserError(f"days: must be at least 1, found {days!r}")


def _common_files(config: str | Path, clients: tuple[str, ...]) -> dict[str, str]:
    from fedbridge.deploy.agreement import common_files

    return common_files(Path(config), clients)
