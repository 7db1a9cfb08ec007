"""What is right and what is wrong with a deployment, each in words."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from fedbridge.core.cells import NameCell
from fedbridge.core.errors import UserError
from fedbridge.deploy import reach, readiness, trust
from fedbridge.deploy.settings import CLIENT, SERVER, ClientSettings, ServerSettings, read_env

Test = Callable[[], str]
"""Returns in words what is right, or raises UserError."""


class CheckResult(NamedTuple):
    """The outcome of one check."""

    place: str
    what: str
    ok: bool
    words: str


def check(path: Path, offline: bool = False) -> list[CheckResult]:
    """Check a whole deployment, the server's folder or a client's; ``path`` may be a file in it.

    ``offline`` leaves connections out. Raises UserError if the path is none of these.
    """
    folder = path.parent if path.is_file() else path
    if (folder / SERVER).is_file():
        tests = _server(folder, offline)
    elif (folder / CLIENT).is_file():
        tests = _client(folder, offline)
    elif (folder / "server").is_dir() and (folder / "clients").is_dir():
        tests = _deployment(folder, offline)
    else:
        raise UserError(
            f"{path}: must be a folder that fedbridge deploy init has written, or its server's or "
            "a client's"
        )
    return [_carried_out(*test) for test in tests]


def table(findings: list[CheckResult]) -> Table:
    """Return findings as a table."""
    result = Table("where", "what", "", box=None, pad_edge=False)
    result.add_column("found", overflow="fold")  # what is wrong is said in full
    for place, what, ok, words in findings:
        result.add_row(NameCell(place), what, "ok" if ok else "WRONG", Text(words))
    return result


def _carried_out(place: str, what: str, test: Test) -> CheckResult:
    try:
        return CheckResult(place, what, True, test())
    except UserError as error:
        return CheckResult(place, what, False, str(error))


def _deployment(folder: Path, offline: bool) -> Iterator[tuple[str, str, Test]]:
    server = folder / "server"
    yield "ca", "key", partial(trust.authority_key, folder / "ca")
    yield from _server(server, offline)
    for client in sorted((folder / "clients").iterdir()):
        yield from _client(client, offline)
        yield client.name, "same CA", partial(trust.same_authority, server, client)
        yield client.name, "key at the server", partial(trust.same_key, server, client)


def _server(folder: Path, offline: bool) -> Iterator[tuple[str, str, Test]]:
    def settings() -> ServerSettings:
        return read_env(folder / SERVER, ServerSettings)

    def reached() -> str:
        host = settings().hosts[0].strip("[]")
        return reach.check_gate(host, settings().port, folder / "ca.crt")

    yield "server", "settings", lambda: f"reached at {settings().address}"
    yield "server", "CA's certificate", partial(trust.authority, folder)
    yield "server", "certificate", lambda: trust.server_certificate(folder, settings())
    yield "server", "private key", partial(trust.server_key, folder)
    yield "server", "clients' keys", lambda: trust.registered_keys(folder, settings())
    yield "server", "versions", readiness.versions
    yield "server", "common ground", partial(readiness.common_ground, folder)
    if not offline:
        yield "server", "gate", reached
        yield (
            "server",
            "SuperLink",
            lambda: reach.hidden(settings().superlink_port, settings().hosts),
        )


def _client(folder: Path, offline: bool) -> Iterator[tuple[str, str, Test]]:
    name = folder.absolute().name

    def settings() -> ClientSettings:
        return read_env(folder / CLIENT, ClientSettings)

    yield name, "settings", lambda: f"{settings().client}, server at {settings().superlink}"
    yield name, "CA's certificate", partial(trust.authority, folder)
    yield name, "private key", partial(trust.client_key, folder)
    yield name, "versions", readiness.versions
    yield name, "common ground", partial(readiness.common_ground, folder, folder / readiness.SITE)
    yield name, "site", lambda: readiness.site(folder, settings().client)
    if not offline:
        yield name, "server", lambda: reach.check_gate(*settings().endpoint, folder / "ca.crt")
        yield name, "registered", lambda: _registered(folder)
        yield name, "clock", lambda: reach.clock(*settings().endpoint, folder / "ca.crt")


def _registered(folder: Path) -> str:
    from fedbridge.deploy.knock import registered

    return registered(folder)
