"""Whether what a script of a deployment starts can begin; what is not there yet is waited for."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from fedbridge.core.errors import UserError
from fedbridge.deploy import reach
from fedbridge.deploy.settings import CLIENT, SERVER, ClientSettings, ServerSettings, read_env

Step = Literal["superlink", "server", "client"]
Say = Callable[[str], None]
PAUSE = 3.0  # seconds between two looks
AGAIN = 60.0  # seconds after which what is waited for is said again
PATIENCE = 60.0  # seconds for which scripts at the server wait for their SuperLink


def until_ready(step: Step, folder: Path, say: Say) -> None:
    """Return once a step can begin; meanwhile ``say`` is called with what it waits for.

    ``superlink``: its port is free; ``server``: the SuperLink answers; ``client``: the port of
    its SuperNode is free, the gate answers and knows its key. Raises UserError for what waiting
    does not help, and where a SuperLink does not answer in a minute.
    """
    if step == "superlink":
        server = read_env(folder / SERVER, ServerSettings)
        what = "is this SuperLink running already? Another port is set in server.env"
        reach.free(server.superlink_port, "SUPERLINK_PORT", what)
    elif step == "server":
        server = read_env(folder / SERVER, ServerSettings)
        here = partial(reach.superlink, server.superlink_port, folder / "ca.crt")
        _wait(here, say, "start it: ./superlink.sh; it says what is wrong", PATIENCE)
    else:
        client = read_env(folder / CLIENT, ClientSettings)
        what = "is this site's SuperNode running already? Another port is set in client.env"
        reach.free(client.runtime_port, "RUNTIME_PORT", what)
        from fedbridge.deploy.knock import registered

        _wait(partial(reach.check_gate, *client.endpoint, folder / "ca.crt"), say)
        _wait(partial(registered, folder), say)


def _wait(look: Callable[[], str], say: Say, hint: str = "", patience: float | None = None) -> None:
    """Look until it succeeds; raise what stands in the way after ``patience`` seconds."""
    began, told, words = time.monotonic(), 0.0, ""
    while True:
        try:
            look()
            return
        except reach.NotYetError as error:
            now, found = time.monotonic(), str(error)
            if patience is not None and now - began >= patience:
                raise UserError(f"{found}; {hint}") from error
            if found != words or now - told >= AGAIN:
                longest = "" if patience is None else f", {patience:.0f} seconds at most"
                say(f"waiting{longest}: {found}")
                words, told = found, now
        time.sleep(PAUSE)
