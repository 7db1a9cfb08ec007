"""The command line of deployment: init, configure, add, renew, check, gate."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from fedbridge.errors import UserError

app = typer.Typer(
    name="deploy",
    help="Set up a server and clients on their own machines; check them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Argument(help="The deployment's folder.", metavar="DIR")]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", help="A name or address of the server; clients use the first."),
]
Days = Annotated[int, typer.Option(min=1, help="Days for which the certificate is valid.")]


@app.callback()
def require_extra() -> None:
    """Set up a server and clients on their own machines; check them.

    Raises UserError if what this needs is not installed.
    """
    if importlib.util.find_spec("cryptography") is None:
        raise UserError(
            'deploy: needs the extra "flower", and cryptography is not there; pip install '
            '"fedbridge[flower]"'
        )


@app.command()
def init(
    folder: Folder,
    clients: Annotated[str, typer.Option(help="Names, divided by commas.", metavar="A,B,C")],
    host: Hosts = None,
    config: Annotated[
        Path | None, typer.Option(help="The experiment, as for configure.", metavar="CONFIG")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65534, help="Where clients connect.")] = 8000,
    days: Days = 365,
) -> None:
    """Write a folder for the server and one for each client.

    They hold certificates, keys, settings and scripts. The SuperLink itself takes the
    next port, on its own machine only.
    """
    from fedbridge.deploy import folder as deployment
    from fedbridge.deploy.settings import ServerSettings, client_names, host_names

    names = client_names(clients.split(","))
    hosts = host_names(host or ())
    settings = ServerSettings(hosts=hosts, port=port, superlink_port=port + 1, clients=names)
    deployment.require_unused(folder)
    deployment.init(folder, settings, days, _common_files(config, names) if config else {})
    typer.echo(f"{folder}: server and {len(names)} clients; go on with {folder / 'README.md'}")


@app.command()
def configure(
    folder: Folder,
    config: Annotated[Path, typer.Argument(help="The experiment.", metavar="CONFIG")],
) -> None:
    """Give server and clients the common config.

    With it comes what they must agree on because of it.
    """
    from fedbridge.deploy import folder as deployment

    settings = deployment.deployed(folder)
    deployment.share(folder, settings, _common_files(config, settings.clients))
    typer.echo(f"{folder}: bring config.toml and agreed.json to the server and to every client")


def _common_files(config: Path, clients: tuple[str, ...]) -> dict[str, str]:
    from fedbridge.deploy.agreement import common_files

    return common_files(config, clients)


@app.command()
def add(
    folder: Folder, name: Annotated[str, typer.Argument(help="Its name.", metavar="NAME")]
) -> None:
    """Write the folder of one more client."""
    from fedbridge.deploy import folder as deployment

    made = deployment.add(folder, name)
    typer.echo(f"{made}: bring it to its site, and {name}.pub in server/keys to the server")


@app.command()
def renew(folder: Folder, host: Hosts = None, days: Days = 365) -> None:
    """Replace the server's certificate; clients need nothing new."""
    from fedbridge.deploy import folder as deployment

    deployment.renew(folder, host or (), days)
    typer.echo(f"{folder / 'server'}: bring server.pem and server.key to the server, restart gate")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A deployment, the server's folder or a client's.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="The server is not up: leave connections out.")
    ] = False,
) -> None:
    """Check a deployment, or one of its folders.

    Certificates, keys, connection, versions, FM, public set and data; exit 2 if wrong.
    """
    from rich.console import Console

    from fedbridge.deploy.check import check as checked
    from fedbridge.deploy.check import table

    findings = checked(path, offline)
    Console().print(table(findings))
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        raise UserError(f"{path}: {wrong} of {len(findings)} checks found something wrong")


@app.command()
def gate(folder: Annotated[Path, typer.Argument(help="The server's folder.")]) -> None:
    """Let clients through to the SuperLink, and nobody else."""
    from fedbridge.deploy.gate import main

    main(folder)
