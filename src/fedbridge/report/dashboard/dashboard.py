"""The dashboard as one object: it listens, and serves in the foreground or beside other work."""

import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fedbridge.core.addresses import LOOPBACK
from fedbridge.core.errors import UserError

if TYPE_CHECKING:
    import uvicorn

PORT = 8137


class Dashboard:
    """A local page of all runs in and below some folders; it reads and never writes.

    It listens from when it is made: ``address`` is where. ``serve`` shows the page until it is
    stopped; ``start`` does so in the background until ``close``, as a ``with`` does.
    ``port`` 0 takes a free one; with another ``host`` than this machine, ``names`` are those by
    which browsers call it. Raises UserError if a folder is not there, the address cannot be had,
    or what it needs is not installed.
    """

    def __init__(
        self,
        *folders: str | Path,
        port: int = PORT,
        host: str = LOOPBACK[0],
        names: Collection[str] = (),
    ) -> None:
        try:
            from fedbridge.core.web import address_of, listening
            from fedbridge.report.dashboard.serving import server
        except ModuleNotFoundError as error:
            raise UserError(
                f"dashboard: needs the extra of that name, and {error.name} is not there: "
                'pip install "fedbridge[dashboard]"'
            ) from error
        roots = [Path(folder) for folder in folders or ("runs",)]
        for root in roots:
            if not root.is_dir():
                raise UserError(f"{root}: must be a folder with runs, found none")
        if host not in LOOPBACK and not names:
            raise UserError(
                f"names: must be given with the host {host} (--name on the command line): the "
                "name or address that browsers will ask for; whoever can reach it can read all "
                "these runs"
            )
        self._socket = listening("dashboard", host, port)
        self.address = address_of(self._socket)
        self._server: uvicorn.Server = server(roots, [*LOOPBACK, host, *names])
        self._thread: threading.Thread | None = None

    def serve(self) -> None:
        """Show the page until the process is interrupted, which raises KeyboardInterrupt."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def start(self) -> Self:
        """Show the page in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.serve, daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Stop showing it, and listening."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Dashboard({self.address!r})"
