"""The folder of a deployment: one part for the server, one for each client, one for the CA."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import jinja2

from fedbridge.core.errors import UserError
from fedbridge.core.files import PARTIAL, write_text, writing, written_folder
from fedbridge.deploy.keys import new_authority, new_client_key, new_server_certificate
from fedbridge.deploy.settings import (
    CLIENT,
    SERVER,
    ClientSettings,
    ServerSettings,
    client_names,
    host_names,
    read_env,
    write_env,
)

AGREED, CONFIG = "agreed.json", "config.toml"
COMMON = (CONFIG, AGREED)
"""What all sides have an equal copy of."""
Texts = Mapping[str, str]
RUNTIME_PORT = 9094
TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("fedbridge.deploy"),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
)


def require_unused(folder: Path) -> None:
    """Raise UserError if there is anything where a deployment is to be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: must be a new or an empty folder, found one that is in use")


def init(folder: Path, settings: ServerSettings, days: int, common: Texts) -> None:
    """Write a whole deployment, at once or not at all.

    ``days`` is how long the server's certificate is valid, ``common`` what all get a copy of.
    Raises UserError if the folder is in use or cannot be written.
    """
    require_unused(folder)
    with _at_once(folder) as draft:
        authority, server = draft / "ca", draft / "server"
        for part in (authority, server, server / "keys", draft / "clients"):
            part.mkdir(mode=0o700)
        new_authority(authority)
        shutil.copyfile(authority / "ca.crt", server / "ca.crt")
        new_server_certificate(authority, server, settings.hosts, days)
        _render("server", server, server=settings)
        (server / SERVER).write_text(write_env(settings), encoding="utf-8")
        for number, name in enumerate(settings.clients):
            client = draft / "clients" / name
            client.mkdir(mode=0o700)
            shutil.copyfile(authority / "ca.crt", client / "ca.crt")
            _write_client(client, name, settings, RUNTIME_PORT + number)
            shutil.copyfile(client / "key.pub", server / "keys" / f"{name}.pub")
        _render("deployment", draft, server=settings)
        share(draft, settings, common)


def share(folder: Path, settings: ServerSettings, common: Texts) -> tuple[str, ...]:
    """Copy the same files to the server and every client; return the clients not here.

    Folders of clients may have been brought to their sites and deleted here.
    """
    places = {name: folder / "clients" / name for name in settings.clients}
    here = [place for place in places.values() if place.is_dir()]
    for part in (folder / "server", *here):
        for name, text in common.items():
            write_text(part / name, text)
    return tuple(name for name, place in places.items() if place not in here)


def add(folder: Path, name: str) -> Path:
    """Write the folder of one more client and return it; the server learns its public key.

    Raises UserError if there is no deployment here or the client is already part of it.
    """
    settings = deployed(folder)
    (name,) = client_names([name])
    drafts = {path.name for path in (folder / "clients").glob(f"*{PARTIAL}")} - {*settings.clients}
    there = (c for c in (folder / "clients").iterdir() if c.name not in drafts)
    known = {client.name.casefold(): client for client in there}
    if name.casefold() in known:
        raise UserError(f"{known[name.casefold()]}: there is already a client {name!r}")
    taken = [read_env(c / CLIENT, ClientSettings).runtime_port for c in known.values()]
    clients = tuple(dict.fromkeys((*settings.clients, name)))
    with _at_once(folder / "clients" / name) as draft:
        shutil.copyfile(folder / "ca" / "ca.crt", draft / "ca.crt")
        _write_client(draft, name, settings, max(taken, default=RUNTIME_PORT - 1) + 1)
        for common in (folder / "server" / file for file in COMMON):
            if common.is_file():
                shutil.copyfile(common, draft / common.name)
        shutil.copyfile(draft / "key.pub", folder / "server" / "keys" / f"{name}.pub")
        text = write_env(settings.model_copy(update={"clients": clients}))
        write_text(folder / "server" / SERVER, text)
    return folder / "clients" / name


def renew(folder: Path, hosts: Sequence[str], days: int) -> None:
    """Replace the server's certificate and key; ``hosts`` are its new names, or empty.

    Raises UserError if the folder lacks the CA's key.
    """
    settings, server = deployed(folder), folder / "server"
    names = host_names(hosts) if hosts else settings.hosts
    with tempfile.TemporaryDirectory(prefix=".renew-", dir=folder) as draft:
        new_server_certificate(folder / "ca", Path(draft), names, days)
        for name in ("server.key", "server.pem"):
            os.replace(Path(draft) / name, server / name)
    write_text(server / SERVER, write_env(settings.model_copy(update={"hosts": names})))


def deployed(folder: Path) -> ServerSettings:
    """Return the server's settings; raise UserError if the folder is no deployment."""
    if not (folder / "server" / SERVER).is_file() or not (folder / "clients").is_dir():
        raise UserError(f"{folder}: must be a folder that fedbridge deploy init has written")
    return read_env(folder / "server" / SERVER, ServerSettings)


def _write_client(folder: Path, name: str, server: ServerSettings, port: int) -> None:
    settings = ClientSettings(client=name, superlink=server.address, runtime_port=port)
    new_client_key(folder / "key", name)
    (folder / CLIENT).write_text(write_env(settings), encoding="utf-8")
    _render("client", folder, client=settings)


def _render(part: str, folder: Path, **values: ServerSettings | ClientSettings) -> None:
    """Write the files of one part; those that begin with #! are made executable."""
    version = metadata.version("fedbridge")
    for name in TEMPLATES.list_templates(filter_func=lambda name: name.startswith(f"{part}/")):
        path = folder / name.removeprefix(f"{part}/")
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(TEMPLATES.get_template(name).render(version=version, **values), "utf-8")
        if path.read_bytes().startswith(b"#!"):
            path.chmod(0o755)


@contextmanager
def _at_once(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, for its owner's eyes alone, which gets its name when all is in it."""
    with writing(folder), written_folder(folder) as draft:
        draft.chmod(0o700)
        yield draft
