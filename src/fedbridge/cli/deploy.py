"""The command line of deployment: init, configure, add, renew, check, gate."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from fedbridge.core.errors import UserError
from fedbridge.deploy.deployment import DAYS, LAST_PORT, PORT, Deployment, require_extra

app = typer.Typer(
    name="deploy",
    help="Set up a server and clients on their own machines; check them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Argument(help="The deployment's folder.", metavar="DIR")]
HostOption = Annotated[
    list[str] | None,
    typer.Option("--host", help="A name or address of the server; clients use the first."),
]
Step = Literal["superlink", "server", "client"]
Days = Annotated[int, typer.Option(min=1, help="Days for which the certificate is valid.")]


@app.callback()
def about() -> None:
    """Set up a server and clients on their own machines; check them."""
    require_extra()


@app.command()
def init(
    folder: Folder,
    clients: Annotated[str, typer.Option(help="Names, divided by commas.", metavar="A,B,C")],
    host: HostOption = None,
    config: Annotated[
        Path | None, typer.Option(help="The experiment, as for configure.", metavar="CONFIG")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="Where clients connect.")] = PORT,
    days: Days = DAYS,
) -> None:
    """Write a folder for the server and one for each client.

    They hold certificates, keys, settings and scripts. The SuperLink itself takes the
    next port, on its own machine only.
    """
    names = clients.split(",")
    Deployment.init(folder, names, host or (), config, port, days)
    typer.echo(f"{folder}: server and {len(names)} clients; go on with {folder / 'README.md'}")


@app.command()
def configure(
    folder: Folder,
    config: Annotated[Path, typer.Argument(help="The experiment.", metavar="CONFIG")],
) -> None:
    """Copy the common config to server and clients.

    With it comes what they must agree on because of it.
    """
    deployment = Deployment(folder)
    away = deployment.configure(config)
    here = [f"clients/{name}" for name in deployment.clients if name not in away]
    typer.echo(f"{folder}: config.toml and agreed.json are in {', '.join(['server', *here])}")
    if away:
        typer.echo(f"bring both files to {', '.join(away)}: no such folder is here")
    if here:
        typer.echo("where such a folder is at its machine already, bring both files there as well")


@app.command()
def add(
    folder: Folder, name: Annotated[str, typer.Argument(help="Its name.", metavar="NAME")]
) -> None:
    """Write the folder of one more client."""
    made = Deployment(folder).add(name)
    typer.echo(f"{made}: bring it to its site, and {name}.pub in server/keys to the server")


@app.command()
def renew(folder: Folder, host: HostOption = None, days: Days = DAYS) -> None:
    """Replace the server's certificate; clients need nothing new."""
    Deployment(folder).renew(host or (), days)
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

    from fedbridge.deploy.check import table

    findings = Deployment(path).check(offline)
    Console().print(table(findings))
    wrong = sum(not finding.ok for finding in findings)
    if wrong:
        raise UserError(f"{path}: {wrong} of {len(findings)} checks found something wrong")


@app.command(hidden=True)
def ready(
    step: Annotated[Step, typer.Argument(help="What is about to begin.")],
    folder: Annotated[Path, typer.Argument(help="The server's folder or a client's.")],
) -> None:
    """Wait, in words, until a step of a deployment can begin; its scripts ask for it."""
    from fedbridge.deploy.ready import until_ready

    until_ready(step, folder, lambda words: typer.echo(words, err=True))


@app.command()
def gate(folder: Annotated[Path, typer.Argument(help="The server's folder.")]) -> None:
    """Forward clients to the SuperLink, and refuse all else."""
    from fedbridge.deploy.gate import main

    main(folder)
